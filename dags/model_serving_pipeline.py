"""Takes a registered version to every replica.

**What it does**: decides which version to roll out, lets the alias `champion` name it, and waits until every replica
behind the gateway answers with it. The replicas follow the alias by themselves, so nothing is restarted.

**What starts it**: the asset `model/<name>`, which a training emits when its version passed the gate; one rollout for
each model named in the events. By hand: `model` and, if not the newest passed one, `version`.

**What it writes**: the aliases `champion` and `previous` in MLflow's registry, and a row of `warehouse.promotion_log`.
No other DAG moves them.

## Triage
- `choose_models` red: the parameters name no model of the catalog.
- `plan` red: no version of the model has passed the gate, or MLflow is not reached. Run `mlops_training_pipeline`.
- `plan` skipped: a person has frozen the model (`mlops freeze`); its log says who and why.
- `promote` red: MLflow refused to move the alias; its log says why. Safe to clear and run again.
- `wait_for_fleet` red: a replica did not come to the version in time. `docker compose logs serving` names the reason
  (a file that was refused, MLflow out of reach). The replicas that refused keep serving the version before. The way
  back: trigger this DAG with `version` set to the one that `previous` names in MLflow.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import (
    Asset,
    AssetAny,
    Param,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException
from notices import tell_success
from task_defaults import make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()
NAMES = list(CATALOG.list_models())


@dag(
    schedule=AssetAny(*[Asset(f"model/{name}") for name in NAMES]),
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Seoul"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "serving"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    on_success_callback=tell_success(),
    default_args=make_task_defaults("serving.errors.NoCandidateError"),
    params={
        "model": Param(CATALOG.choose_default(), enum=NAMES, description="Model to roll out when started by hand"),
        "version": Param(None, type=["string", "null"], description="Version; empty: the newest that passed the gate"),
    },
)
def model_serving_pipeline() -> None:
    @task
    def choose_models(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, str | None]]:
        # The alias through which an asset was emitted stands among the events as well.
        names = [asset.name for asset in triggering_asset_events or {}]
        models = sorted(name.removeprefix("model/") for name in names if name.startswith("model/"))
        return [{"model": model, "version": None} for model in models] or [
            {"model": params["model"], "version": params["version"]}
        ]

    @task(map_index_template="{{ rollout_label }}")
    def plan(choice: dict[str, str | None]) -> dict[str, str | None]:
        from serving import rollout
        from serving.errors import FrozenModelError

        control = rollout.connect()
        try:
            planned = rollout.plan(control.aliases, control.log, choice["model"], choice["version"])
        except FrozenModelError as error:
            raise AirflowSkipException(str(error)) from error
        get_current_context()["rollout_label"] = f"{planned.model}: {planned.from_version} -> {planned.to_version}"
        return planned.as_dict()

    @task
    def promote(planned: dict[str, str | None], ti: Any = None) -> dict[str, str | None]:
        from serving import rollout

        control, who = rollout.connect(), f"{ti.dag_id}/{ti.run_id}"
        rollout.promote(control.aliases, control.log, rollout.Rollout(**planned), who, "the gate let it pass")
        return planned

    @task
    def wait_for_fleet(promoted: dict[str, str | None]) -> list[str]:
        from serving import rollout

        control = rollout.connect()
        return rollout.wait_for_fleet(control.fleet, rollout.Rollout(**promoted), control.timeout_seconds)

    @task_group
    def roll_out(choice: dict[str, str | None]) -> None:
        wait_for_fleet(promote(plan(choice)))

    roll_out.expand(choice=choose_models())


model_serving_pipeline()
