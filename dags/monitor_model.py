"""Watches what the champions answer, and alarms when live rows differ from those that a version was made for.

**What it does**: looks at each model with a champion. `watch_drift` judges each window of the prediction log once, when
the log is complete for it. A window is a whole day in UTC, unless `[drift]` in the dataset's TOML file changes it. The
task compares features, predictions and scores with the version's reference. The verdict is one of four:
- clean;
- drift: a test and the size of the difference agree, or a classifier tells the rows from the reference;
- quality: missing cells, new categories, values outside of the catalog's range, a feature that stands still, or refused
  requests. A person is told, and nothing is retrained while it lasts;
- no verdict: fewer than 50 rows count, or the version has no reference.

`measure_quality` measures the same windows by the labels of feedback, by version, variant and the gate's slices. It
measures a window again when its labels change, for as long as `label_horizon_days` of `[drift]`. A person is told of a
window with less than half of the usual labels.

`measure_staleness` asks the last five versions that served the newest labelled answers again, once for each closed
window. It takes at most 10,000 of the last five labelled windows, and of these only rows that no version can have
learnt. A version that cannot answer them is named on the page.

Two windows of the last five that drift, the newest among them, are an alarm.

**What starts it**: every hour, at minute 20.

**What it writes**: rows of `warehouse.live_metric`, a row of `warehouse.drift_window` for each window, and a page with
plots. The page is in the bucket `predictions` (`drift/`), and among the files of the version's run in MLflow. The
figures of older versions are rows of `warehouse.staleness`, with a page in the bucket `predictions` (`staleness/`) and
among the files of the champion's run.

An alarm emits the asset `drift/<model>` and sends a notice. A live metric that is worse than at promotion emits it with
the next window. `settle_retrainings` ends retrainings whose version a person has decided on. `show_state` writes the
file that the start page shows as the state of each model.

## Triage
- `choose_models` red: MLflow was not reached. Safe to clear.
- `choose_models` without a model, `watch_drift` skipped: no model has a champion yet.
- `watch_drift` labelled "no collected log": `collect_predictions` has not run, or the log is switched off.
- `watch_drift` labelled "no closed window": every window is judged, or `collect_predictions` is late.
- `watch_drift` labelled "no verdict": the row's figures say why. A file that was trained elsewhere has no reference.
- `watch_drift` labelled "quality": its notice names the columns. Correct the program that sends the requests.
- `watch_drift` red: MLflow, the store or the warehouse was not reached. Safe to clear: judged windows stay as they are.
- `measure_quality` red: MLflow, the store or the warehouse was not reached. Other models were measured. Safe to clear.
- `measure_staleness` red: MLflow, the store or the warehouse was not reached, or the champion's file cannot be opened.
  Other models were measured. Safe to clear: measured windows stay as they are.
- `settle_retrainings` red: MLflow, the store or the warehouse was not reached. Safe to clear.
- `show_state` red: the warehouse was not reached, or the volume `loop-status` cannot be written. Until then the start
  page shows the state of an earlier hour. Safe to clear.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Asset, AssetAlias, dag, get_current_context, task, timezone
from notices import tell_person
from task_defaults import HERE, make_task_defaults


@dag(
    schedule="20 * * * *",
    start_date=timezone.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["ml", "monitoring"],
    doc_md=__doc__,
    default_args=make_task_defaults(),
)
def monitor_model() -> None:
    @task
    def choose_models() -> list[str]:
        from ml_code.monitoring.drift import watching
        from ml_code.workspace import open_workspace

        return watching.list_watched(open_workspace())

    @task(map_index_template="{{ label }}", outlets=[AssetAlias("drift-alarm")])
    def watch_drift(model: str, ti: Any = None, outlet_events: Any = None) -> None:
        from ml_code.monitoring.drift import watching
        from ml_code.monitoring.retraining import trigger
        from ml_code.workspace import open_workspace

        workspace = open_workspace()
        watched = watching.watch_model(workspace, model, is_retry=ti.try_number > 1)
        get_current_context()["label"] = watched.label
        # Once for each window: a model that waits for labels would be asked about every hour otherwise.
        if (watched.windows or watched.alarm) and trigger.find_call(workspace, model):
            outlet_events[AssetAlias("drift-alarm")].add(Asset(f"drift/{model}"))
        _tell_each(watched.notices)

    @task
    def settle_retrainings() -> None:
        from ml_code.monitoring.retraining import trigger
        from ml_code.workspace import open_workspace

        _tell_each(trigger.settle(open_workspace()))

    @task
    def measure_quality() -> None:
        from ml_code.monitoring.quality import measuring
        from ml_code.workspace import open_workspace

        _tell_each(measuring.measure_all(open_workspace(), timezone.utcnow()))

    @task
    def measure_staleness() -> None:
        from ml_code.monitoring.staleness import measuring
        from ml_code.workspace import open_workspace

        measuring.measure_all(open_workspace())

    @task(trigger_rule="none_failed", **HERE)
    def show_state() -> None:
        from ml_code.monitoring import status
        from ml_code.workspace import open_workspace

        status.write_status(open_workspace(), timezone.utcnow())

    [
        measure_quality() >> measure_staleness(),
        watch_drift.expand(model=choose_models()),
        settle_retrainings(),
    ] >> show_state()


def _tell_each(notices: Iterable[str]) -> None:
    for notice in notices:
        tell_person(notice)


monitor_model()
