"""Trains a model again when live rows call for it, and brings the better version out by the gate and the canary.

**What it does**: `ask` looks whether drift or a decline still calls for a retraining, and whether one may begin:
- the newest window has no faults, and every feature is logged;
- enough labels of the calling windows came since the last attempt (`[drift]` of the dataset's TOML file);
- a day has passed since the last attempt. After a rejected one, twice its labels are needed;
- no rollout, rollback, training or other retraining of the model is under way.

Otherwise it sends a notice of what is missing, and the run ends green. `train` adds the labelled rows of the prediction
log to the dataset's rows, and trains three models: all rows alike, new rows that weigh as much as all older ones, and
new rows only. A third of the new rows is held out. These rows choose among the models, and `gate` decides:
- better there by more than 1 SE, and not worse on the old holdout than the largest regression: registered, and rolled
  out by `model_serving_pipeline`;
- better there, but worse on the old holdout, or on held-out rows of earlier retrainings: a changed world and poisoned
  labels look alike, so a person decides;
- not better there: rejected.

The reference of a registered version is the windows that drifted and called for it. Rows of windows with faults,
replays and shadows are never learned.

**What starts it**: the asset `drift/<model>`, or a person, by `model`.

**What it writes**: MLflow runs, a row of `warehouse.retraining`, and `clean/<dataset>/pending-*` in the bucket
`datasets`. A pass adds a version, the asset `model/<name>`, which starts the rollout, and `clean/<dataset>/live-*`.

## Triage
- `ask` skipped: nothing is broken. Its log and the notice say what is missing.
- `ask` red: MLflow, the store or the warehouse was not reached. Safe to clear.
- `train` red with `DataCheckError`: too many labelled rows break the catalog's checks; see `quarantine/` in the bucket.
- `gate` red with `GateError`: too few of the new rows are held out. Send more labels.
- `held_back` green: nothing is broken. Either the version waits for a person: compare both figures in its notice, then
  `mlops deploy` it, or leave it. Or the models were not better on the newest rows: the next attempt needs twice the
  labels.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetAlias, AssetAny, Param, dag, get_current_context, task, task_group, timezone
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_person
from task_defaults import FITS, HERE, make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()
MODELS = CATALOG.list_models()


@dag(
    schedule=AssetAny(*[Asset(f"drift/{model}") for model in MODELS]),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "training", "monitoring"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    default_args=make_task_defaults(),
    params={"model": Param(CATALOG.choose_default(), enum=list(MODELS), description="Registered model")},
)
def model_retraining() -> None:
    @task
    def choose_models(params: dict[str, Any], triggering_asset_events: Any = None) -> list[str]:
        # The events also contain the alias through which an asset was emitted.
        names = [asset.name for asset in triggering_asset_events or {}]
        models = [name.removeprefix("drift/") for name in names if name.startswith("drift/")]
        return sorted(set(models)) or [params["model"]]

    @task(map_index_template="{{ label }}")
    def ask(model: str, ti: Any = None) -> str:
        from ml_code.monitoring.retraining import trigger
        from ml_code.workspace import open_workspace

        owner = f"{ti.dag_id}/{ti.run_id}/{model}"
        get_current_context()["label"] = model
        answer = trigger.ask(open_workspace(), model, owner)
        if answer.is_notice:
            tell_person(answer.says)
        if not answer.begins:
            raise AirflowSkipException(answer.says)
        return owner

    @task(map_index_template="{{ label }}", **FITS)
    def train(owner: str, ti: Any = None) -> list[str]:
        from ml_code.monitoring.retraining import steps
        from ml_code.training.plans import RunOrigin
        from ml_code.workspace import open_workspace

        get_current_context()["label"] = owner.rsplit("/", 1)[-1]
        return steps.train_mixes(open_workspace(), owner, RunOrigin(ti.dag_id, ti.run_id, ti.task_id, ti.map_index))

    @task(map_index_template="{{ label }}", **HERE)
    def gate(owner: str, run_ids: list[str]) -> dict[str, str]:
        from ml_code.gate.decision import verdict
        from ml_code.monitoring.retraining import steps
        from ml_code.workspace import open_workspace

        judged = steps.decide(open_workspace(), owner, run_ids)
        get_current_context()["label"] = verdict(judged.decision)
        return {"outcome": judged.outcome, "version": judged.version, "says": verdict(judged.decision)}

    @task(outlets=[AssetAlias("retrained-model")])
    def promoted(model: str, judged: dict[str, str], outlet_events: Any = None) -> None:
        skip_unless(judged, "promoted")
        outlet_events[AssetAlias("retrained-model")].add(Asset(f"model/{model}"), extra={"version": judged["version"]})
        tell_person(judged["says"])

    @task
    def held_back(model: str, judged: dict[str, str]) -> None:
        skip_unless(judged, "held", "rejected")
        hint = f". To roll it out: `mlops deploy {model} {judged['version']}`" if judged["outcome"] == "held" else ""
        tell_person(judged["says"] + hint)

    @task_group
    def retrain(model: str) -> None:
        owner = ask(model)
        judged = gate(owner, train(owner))
        promoted(model, judged)
        held_back(model, judged)

    retrain.expand(model=choose_models())


def skip_unless(judged: dict[str, str], *expected: str) -> None:
    if judged["outcome"] not in expected:
        raise AirflowSkipException(f"the gate's outcome is {judged['outcome']}")


model_retraining()
