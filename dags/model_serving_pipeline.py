"""Takes a registered version to every replica by canary, and takes it back by itself where it does worse.

**What it does**: decides which version to roll out, opens its file in a process of its own, lets the canary pool answer
with it (`CANARY_PERCENT` of the users), compares both versions in the same minutes, and then lets the alias `champion`
name it, or ends the rollout at once. Replicas follow the aliases by themselves: nothing is restarted, nothing is lost.
Where there is no champion yet, or no canary pool, the version goes straight to the replicas.

**What starts it**: the asset `model/<name>`, which a training emits when its version passed the gate; one rollout for
each model named in the events. By hand: `model` and, if not the newest passed one, `version`. At most one rollout per
model is under way: a newer version, or one asked for by hand, takes its place.

**What it writes**: in MLflow the aliases `champion`, `previous` and `challenger`, and the tags `canary_until`
and `rollout`; rows of `warehouse.rollout` and `warehouse.promotion_log`. No other DAG but `model_rollback` does.

## Triage
- `choose_models` red: the parameters name no model of the catalog.
- `plan` red: no version of the model has passed the gate, or MLflow is not reached. Run `mlops_training_pipeline`.
- `plan` skipped: what would be rolled out serves already, another run is at it, or a person has frozen the model
  (`mlops freeze`); its log says which.
- `validate_artifact` red: the file must not serve; the log says why. Nothing was served with it. Train again; a changed
  schema goes through with `allow_schema_change`.
- `start_canary` skipped: it is the first version, or there is no canary pool.
- `wait_for_canary`, `analyse_canary` red: the canary did worse than it may (errors, latency, answers), or too little
  was seen to tell; the log has the figures. The version before serves all, and this one is not picked again unasked.
- `approve` waits: a person decides under *Required actions* (three days at most; a rejection makes it red). Skipped:
  nobody has to.
- `promote` red: the champion was moved by hand meanwhile, which counts for more, or MLflow refused. Skipped: a person
  has frozen the model meanwhile.
- `wait_for_fleet`, `verify_through_gateway` red: a replica did not come to the version in time, or something else
  answered. The version before serves again, if there is one; `docker compose logs serving` names the reason.
- `abort` green: it ended what a step had left under way. Skipped: nothing had gone wrong.
- A run that was cut off: clear it, or trigger another one, which takes over after the lease (two minutes).
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import (
    Asset,
    AssetAny,
    Param,
    TriggerRule,
    chain,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException
from notices import send
from rollout_tasks import RolloutApproval, control_rollout, describe_end
from task_defaults import make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()
NAMES = list(CATALOG.list_models())

FINAL_ERRORS = ("serving.errors.NoCandidateError", "serving.errors.BreachError", "serving.errors.InconclusiveError")


@task
def validate_artifact(rollout_id: int, params: dict[str, Any]) -> str:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.validate_artifact(control, rollout_id, allow_schema_change=params["allow_schema_change"])


@task
def start_canary(rollout_id: int) -> str:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.start_canary(control, rollout_id)


@task
def wait_for_canary(rollout_id: int) -> str:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.wait_for_canary(control, rollout_id)


@task
def analyse_canary(rollout_id: int, params: dict[str, Any]) -> str:
    from serving.comparison.analysis import Rules
    from serving.rollout import steps

    rules = Rules(**{name: params[name] for name in Rules.__dataclass_fields__})
    with control_rollout() as control:
        return steps.analyse_canary(control, rollout_id, rules, params["window_seconds"])


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def promote(rollout_id: int) -> str:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.promote(control, rollout_id)


@task
def wait_for_fleet(rollout_id: int) -> list[str]:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.wait_for_fleet(control, rollout_id)


@task
def verify_through_gateway(rollout_id: int) -> str:
    from serving.rollout import steps

    with control_rollout() as control:
        return steps.verify_through_gateway(control, rollout_id)


@task
def notify(rollout_id: int) -> None:
    with control_rollout() as control:
        send(describe_end(control.rows.read(rollout_id)))


# Not a notice of its own: the task that failed has sent one.
@task(trigger_rule=TriggerRule.ONE_FAILED)
def abort(rollout_id: int | None) -> str:
    from serving.rollout import steps

    if rollout_id is None:
        raise AirflowSkipException("no rollout was begun")
    with control_rollout() as control:
        return steps.clean_up(control, rollout_id, "a step failed; its log says why")


@dag(
    schedule=AssetAny(*[Asset(f"model/{name}") for name in NAMES]),
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Seoul"),
    catchup=False,
    # One that waits for a person must not hold up the others; of one model there is one rollout at most anyway.
    max_active_runs=16,
    is_paused_upon_creation=False,
    tags=["ml", "serving"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    default_args=make_task_defaults(*FINAL_ERRORS),
    params={
        "model": Param(CATALOG.choose_default(), enum=NAMES, description="Model to roll out when started by hand"),
        "version": Param(None, type=["string", "null"], description="Version; empty: the newest that passed the gate"),
        "allow_schema_change": Param(False, type="boolean", description="Clients are ready for other features"),
        "require_approval": Param(False, type="boolean", description="A person decides after the canary"),
        "window_seconds": Param(
            20, type="number", minimum=0, maximum=3600, description="How long the canary is watched"
        ),
        "minimum_requests": Param(300, type="integer", minimum=1, description="Of each pool; what lacks is replayed"),
        "success_drop": Param(
            0.02, type="number", minimum=0, maximum=1, description="How much lower its success rate may be"
        ),
        "tolerated_failures": Param(2, type="integer", minimum=0, description="So many failures are no breach"),
        "latency_factor": Param(2.0, type="number", minimum=1, description="How many times slower its p99 may be,"),
        "latency_margin_ms": Param(50.0, type="number", minimum=0, description="or by how many ms, whichever is more"),
        "distribution_distance": Param(
            0.3, type="number", minimum=0, maximum=1, description="How far its answers may be from its holdout's"
        ),
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
    def plan(choice: dict[str, str | None]) -> int:
        from serving.rollout.plan import open_rollout

        with control_rollout() as control:
            opened = open_rollout(control, choice["model"] or "", choice["version"])
        get_current_context()["rollout_label"] = f"{opened.model}: {opened.from_version} -> {opened.to_version}"
        return opened.rollout_id

    @task_group
    def roll_out(choice: dict[str, str | None]) -> None:
        rollout_id = plan(choice)
        steps = [
            validate_artifact(rollout_id),
            start_canary(rollout_id),
            wait_for_canary(rollout_id),
            analyse_canary(rollout_id),
            RolloutApproval(
                task_id="approve", rollout_id=rollout_id, trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
            ),
            promote(rollout_id),
            wait_for_fleet(rollout_id),
            verify_through_gateway(rollout_id),
        ]
        chain(*steps, notify(rollout_id))
        steps >> abort(rollout_id)

    roll_out.expand(choice=choose_models())


model_serving_pipeline()
