"""Rolls a registered version out to every replica by canary, and back automatically if it does worse.

**What it does**: chooses the version, opens its file in a process of its own, and serves it from the canary pool to
`CANARY_PERCENT` of the users. It compares both versions in the same minutes. Then it points the alias `champion` at the
new version, or ends the rollout at once. Replicas follow the aliases automatically: nothing restarts and no request is
lost. Without a champion or a canary pool, the version goes straight to the replicas.

**What starts it**:
- the asset `model/<name>`, which a training emits when its version passed the gate. It starts one rollout for each
  model named in the events;
- by hand, with `model`, and with `version` unless it is the newest that passed. The canary's window and rules are those
  of the dataset's TOML file. A form may tighten them; a looser value, or `allow_schema_change`, needs an approval.

At most one rollout per model is under way. A newer version, or one requested by hand, replaces it.

**What it writes**: in MLflow the aliases `champion`, `previous` and `challenger`, and the tags `canary_until`
and `rollout`; rows of `warehouse.rollout` and `warehouse.promotion_log`. No other DAG but `model_rollback` does.

## Triage
- `choose_models` red: the parameters name no model of the catalog.
- `plan` red: no version of the model has passed the gate, or MLflow was not reached. Run `mlops_training_pipeline`.
  A version whose tags the gate did not sign counts as not passed; requested by its number, it waits for a person.
- `plan` skipped: the version serves already, another run rolls it out, or a person has frozen the model
  (`mlops freeze`). Its log says which.
- `validate_artifact` red: the file must not serve, and the log gives the reason. No request was answered with it.
  Train again; `allow_schema_change` accepts a changed schema.
- `start_canary` skipped: it is the first version, or there is no canary pool.
- `wait_for_canary`, `analyse_canary` red: the canary exceeded a limit (errors, latency, predictions), or too little was
  seen for a decision. The log has the numbers. The version before serves all users. An aborted version is rolled out
  again only on request; an inconclusive one with the next start.
- `approve` waits: a person decides under *Required actions*, within three days. A rejection makes it red, and so does
  an approval by the person who asked for a looser value. Skipped: no approval is needed.
- `promote` red: a person moved the champion meanwhile, which takes precedence, or MLflow refused. `not judged` and
  `not approved`: `analyse_canary` or `approve` was marked as successful by hand. Start the rollout again. Skipped: a
  person has frozen the model meanwhile.
- `wait_for_fleet`, `verify_through_gateway` red: a replica did not load the version in time, or the gateway answered
  with another version or other predictions. The version before serves again, if there is one.
  `docker compose logs serving` gives the reason.
- `abort` green: it ended the rollout that a failed step had left under way. Skipped: no step failed.
- An interrupted run: clear it, or trigger another one, which takes over after the lease (two minutes).
"""

from __future__ import annotations

from typing import Any

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
    timezone,
)
from notices import send
from rollout_tasks import (
    RolloutApproval,
    abort,
    analyse_canary,
    asks_for_approval,
    control_rollout,
    describe_end,
    start_canary,
    validate_artifact,
    wait_for_canary,
)
from task_defaults import HERE, make_task_defaults

from ml_code.canary import Canary
from ml_code.datasets import load_catalog

CATALOG = load_catalog()
NAMES = list(CATALOG.list_models())

RULES = {
    name: Param(
        None,
        type=[rule["type"], "null"],
        description=f"{rule['description'].capitalize()}. Empty: the catalog's; a looser value needs an approval",
        **{bound: rule[bound] for bound in ("minimum", "maximum") if bound in rule},
    )
    for name, rule in Canary.model_json_schema()["properties"].items()
}
"""The form may tighten the catalog's rules."""

FINAL_ERRORS = (
    "serving.errors.NoCandidateError",
    "serving.errors.BreachError",
    "serving.errors.InconclusiveError",
    "serving.errors.RolloutLostError",
    "airflow.providers.standard.exceptions.HITLTimeoutError",
)


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def promote(rollout_id: int, params: dict[str, Any]) -> str:
    from serving.rollout import approval, steps

    with control_rollout() as control:
        limits = approval.read_limits(control, rollout_id, params)
        return steps.promote(control, rollout_id, is_asked_for=asks_for_approval(limits, params))


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


@dag(
    schedule=AssetAny(*[Asset(f"model/{name}") for name in NAMES]),
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    # A rollout that waits for approval must not block other models. Each model has at most one rollout anyway.
    max_active_runs=16,
    is_paused_upon_creation=False,
    tags=["ml", "serving"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    default_args=make_task_defaults(*FINAL_ERRORS) | HERE,
    params={
        "model": Param(CATALOG.choose_default(), enum=NAMES, description="Model to roll out when started by hand"),
        "version": Param(None, type=["string", "null"], description="Version; empty: the newest that passed the gate"),
        "allow_schema_change": Param(False, type="boolean", description="Clients can send other features"),
        "require_approval": Param(False, type="boolean", description="A person decides after the canary"),
        **RULES,
    },
)
def model_serving_pipeline() -> None:
    @task
    def choose_models(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, str | None]]:
        # The events also contain the alias through which an asset was emitted.
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
