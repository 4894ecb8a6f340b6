"""Compares a version with the champion by the labels of live requests.

**What it does**: compares the losses of labelled live rows: the share of wrong classes, or the error of a number. The
interval holds at every look, so anybody may look at any time, and labels may come late. Users count, not their rows.
It has two modes:

- `ab`: the version answers its share of the users from the canary pool, as in a rollout, but for as long as it takes.
  Use it where answers change what users do.
- `shadow`: the champion answers everybody. In the canary pool the version predicts the same rows afterwards, and nobody
  gets its predictions. Both have predicted each row, so it needs a fraction of the labels. Before the first label it
  shows the share of rows that both predict alike.

**What starts it**: a person, with `model`, and with `version` unless it is the newest that passed the gate.

**What it writes**: a row of `warehouse.rollout` of the kind `ab` or `shadow`, and the alias `challenger` or `shadow`
while it lasts. The row has the figures and the verdict: `better`, `worse`, `equivalent` or `undecided`. The start page
shows both. `better` starts `model_serving_pipeline` if `promote` says so. A version that is worse is never rolled out
automatically.

At most one rollout or test per model is under way. A version that a person requests by its number takes its place; a
newer one that passed the gate waits for its end.

## Triage
- `plan` red: the model has no champion, no canary pool, or no version to test. Its log says which.
- `plan` skipped: a rollout or another test of the model is under way, or the version serves already.
- `validate_artifact`, `wait_for_canary`, `analyse_canary` red: as in `model_serving_pipeline`; nothing is compared.
- `compare` red: the test has ended. The version failed or slowed down, a person moved the champion, or the shadow was
  withdrawn or replaced in MLflow. The log says which.
- `compare` waits: labels are missing. `mlops feedback MODEL` shows how many came, and the label of the task `plan` how
  many are needed.
- `abort` green: it ended the test that a failed step had left under way. Skipped: no step failed.
- `promote` skipped: the verdict is not `better`, or `promote` is false.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pendulum
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Asset, AssetAlias, Param, chain, dag, get_current_context, task, timezone
from notices import send
from rollout_tasks import (
    abort,
    analyse_canary,
    control_rollout,
    describe_end,
    start_canary,
    validate_artifact,
    wait_for_canary,
)
from task_defaults import HERE, make_task_defaults

from ml_code.datasets import load_catalog

CATALOG = load_catalog()
NAMES = list(CATALOG.list_models())

LOOK_SECONDS = 300
"""Pause between two looks; labels are collected every ten minutes."""

MOST_HOURS = 24 * 90

FINAL_ERRORS = (
    "serving.errors.NoCandidateError",
    "serving.errors.BreachError",
    "serving.errors.InconclusiveError",
    "serving.errors.RolloutLostError",
)


def import_mode(mode: str) -> Any:
    from serving.rollout import ab_test, shadow

    return shadow if mode == "shadow" else ab_test


def read_terms(control: Any, params: dict[str, Any]) -> Any:
    from serving.rollout import ab_test
    from serving.settings import RolloutSettings

    return ab_test.read_terms(control, RolloutSettings().canary_percent, params)


@dag(
    schedule=None,
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=4,
    is_paused_upon_creation=False,
    tags=["ml", "serving"],
    doc_md=(__doc__ or "") + CATALOG.describe_problems(),
    default_args=make_task_defaults(*FINAL_ERRORS) | HERE,
    params={
        "model": Param(CATALOG.choose_default(), enum=NAMES, description="Model whose champion is compared"),
        "version": Param(None, type=["string", "null"], description="Version; empty: the newest that passed the gate"),
        "mode": Param("ab", enum=["ab", "shadow"], description="ab: the version answers users; shadow: nobody"),
        "margin": Param(
            None,
            type=["number", "null"],
            exclusiveMinimum=0,
            description="Smallest difference that matters, such as 0.02; empty: the gate's largest regression",
        ),
        "minimum_rows": Param(1000, type="integer", minimum=200, description="Labelled rows before a verdict ends it"),
        "maximum_hours": Param(
            168, type="number", exclusiveMinimum=0, maximum=MOST_HOURS, description="It ends undecided after this time"
        ),
        "promote": Param(False, type="boolean", description="Roll the version out if it is better"),
    },
)
def ab_test() -> None:
    @task(map_index_template="{{ rollout_label }}")
    def plan(params: dict[str, Any]) -> int:
        from serving.rollout import ab_test

        with control_rollout() as control:
            terms = read_terms(control, params)
            opened = ab_test.open_test(control, params["model"], params["version"], params["mode"])
            needed = import_mode(params["mode"]).describe_need(control, opened, terms)
        get_current_context()["rollout_label"] = f"{opened.name}: {needed}"
        return opened.rollout_id

    @task.sensor(
        mode="reschedule",
        poke_interval=LOOK_SECONDS,
        timeout=pendulum.duration(hours=MOST_HOURS + 24),
    )
    def compare(rollout_id: int, params: dict[str, Any]) -> bool:
        from ml_code.workspace import open_workspace
        from serving.rollout import losses

        with control_rollout() as control:
            terms, read = read_terms(control, params), losses.READERS[params["mode"]]
            return import_mode(params["mode"]).look(control, rollout_id, terms, partial(read, open_workspace()))

    @task(map_index_template="{{ rollout_label }}", outlets=[AssetAlias("tested-model")])
    def conclude(rollout_id: int, params: dict[str, Any], outlet_events: Any = None) -> dict[str, str]:
        from serving.rollout import ab_test

        with control_rollout() as control:
            verdict = ab_test.conclude(control, rollout_id)
            row = control.rows.read(rollout_id)
        get_current_context()["rollout_label"] = f"{row.name}: {verdict}"
        send(describe_end(row))
        # What passed the gate meanwhile has waited for this end.
        outlet_events[AssetAlias("tested-model")].add(Asset(f"model/{params['model']}"))
        return {"verdict": verdict, "version": row.to_version}

    @task.short_circuit
    def is_better(ended: dict[str, str], params: dict[str, Any]) -> bool:
        return bool(params["promote"]) and ended["verdict"] == "better"

    rollout_id = plan()
    first = [
        validate_artifact(rollout_id),
        start_canary(rollout_id),
        wait_for_canary(rollout_id),
        analyse_canary(rollout_id),
        compare(rollout_id),
    ]
    ended = conclude(rollout_id)
    chain(*first, ended)
    [*first, ended] >> abort(rollout_id)
    promote = TriggerDagRunOperator(
        task_id="promote",
        trigger_dag_id="model_serving_pipeline",
        conf={"model": "{{ params.model }}", "version": "{{ ti.xcom_pull(task_ids='conclude')['version'] }}"},
    )
    is_better(ended) >> promote


ab_test()
