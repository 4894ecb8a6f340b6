"""Returns every replica to the previous version at once.

**What it does**: cancels a rollout of the model that is under way, and points the alias `champion` at the previous
version. Then it waits until every replica answers with that version. Replicas keep its file, so they download nothing
and lose no request. The version that served gets the tag `rolled_back` and is never picked automatically again.
`mlops rollback` does the same from a shell, without waiting for Airflow.

**What starts it**: a person, with `model` and `reason`.

**What it writes**: the aliases `champion` and `previous` in MLflow's registry, and rows of `warehouse.rollout` and
`warehouse.promotion_log`.

## Triage
- `roll_back` red: the champion has no previous version, or MLflow or the warehouse was not reached.
  `mlops history MODEL` lists the versions that served; `mlops promote` serves any other.
- `wait_for_fleet` red: a replica did not load the version in time. `docker compose logs serving` gives the reason.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task, timezone
from notices import tell_success
from rollout_tasks import control_rollout
from task_defaults import HERE, make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()


@dag(
    schedule=None,
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=4,
    is_paused_upon_creation=False,
    tags=["ml", "serving"],
    doc_md=__doc__,
    on_success_callback=tell_success(),
    default_args=make_task_defaults("serving.errors.NoCandidateError") | HERE,
    params={
        "model": Param(CATALOG.choose_default(), enum=list(CATALOG.list_models()), description="Model to roll back"),
        "reason": Param("", type="string", minLength=3, description="Why, for the log"),
    },
)
def model_rollback() -> None:
    @task(map_index_template="{{ rollout_label }}")
    def roll_back(params: dict[str, Any]) -> int:
        from serving.rollout.rollback import roll_back

        with control_rollout() as control:
            done = roll_back(control, params["model"], params["reason"])
        get_current_context()["rollout_label"] = f"{done.model}: {done.from_version} -> {done.to_version}"
        return done.rollout_id

    @task
    def wait_for_fleet(rollout_id: int) -> list[str]:
        from serving.fleet.replicas import wait_for_version

        with control_rollout() as control:
            done = control.rows.read(rollout_id)
            return wait_for_version(control.fleet, done.model, done.to_version, control.timeout_seconds)

    wait_for_fleet(roll_back())


model_rollback()
