"""Watches a model: judges each closed window of its champion once, and says whether it alarms."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from ml_code.datasets import Dataset
from ml_code.errors import CatalogError
from ml_code.monitoring.drift.alarm import Alarm, find_alarm
from ml_code.monitoring.drift.history import find_last_end, record_window
from ml_code.monitoring.drift.judging import Judgement, judge
from ml_code.monitoring.drift.page import render_page
from ml_code.monitoring.drift.reference import find_reference
from ml_code.monitoring.drift.windows import Window, list_closed, read_window
from ml_code.monitoring.prediction_log.reading import read_watermark
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look at a model found: its newly judged windows, an alarm, and notices for a person."""

    label: str
    windows: list[Window] = field(default_factory=list)
    alarm: Alarm | None = None
    notices: list[str] = field(default_factory=list)


def list_watched(workspace: Workspace) -> list[str]:
    """The models of the catalog that have a champion.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    models = workspace.catalog.list_models()
    return [model for model in models if "champion" in workspace.tracker.read_aliases(model)]


def watch_model(workspace: Workspace, model: str, *, is_retry: bool = False) -> Watched:
    """Judges the champion's windows that have closed since the last look.

    Args:
        workspace: with store, MLflow and warehouse.
        model: registered model of the catalog.
        is_retry: whether the look before may have judged windows and ended before it could tell of an alarm.

    Raises:
        CatalogError: the catalog has no such model.
        StorageError: the store refuses.
        TrackingError: MLflow refuses or cannot be reached.
        WarehouseError: the warehouse cannot be reached.
    """
    datasets = workspace.catalog.list_models()
    if model not in datasets:
        raise CatalogError(f"model {model}: found none in the catalog, expected one of {', '.join(datasets)}")
    version = workspace.tracker.read_aliases(model).get("champion")
    complete_until = read_watermark(workspace)
    if version is None or complete_until is None:
        return Watched(f"{model}: no {'champion' if version is None else 'collected log'}")
    judged = _judge_closed(workspace, model, version, complete_until, workspace.load_dataset(datasets[model]))
    alarm = find_alarm(workspace, model) if judged or is_retry else None
    state = judged[-1][1].verdict if judged else "no closed window"
    label = f"{model} {version}: {state}" + (", alarm" if alarm else "")
    return Watched(label, [window for window, _ in judged], alarm, _write_notices(model, version, judged, alarm))


def _judge_closed(
    workspace: Workspace, model: str, version: str, complete_until: datetime, dataset: Dataset
) -> list[tuple[Window, Judgement]]:
    """Judges the windows in order; those before the version's first row are no windows of it, but for the last one."""
    last_end = find_last_end(workspace, model, version)
    closed = list_closed(dataset.drift.window_hours, last_end, complete_until)
    judged: list[tuple[Window, Judgement]] = []
    if not closed:
        return judged
    reference, checks = find_reference(workspace, model, version), dataset.checks.columns
    for window in closed:
        logged = read_window(workspace, model, version, window)
        # A seed of the window's own: windows do not share the luck of a draw, and a repetition gives the same figures.
        seed = int(window.start.timestamp())
        found = judge(reference, logged.rows, checks, refused=logged.refused, requests=logged.requests, seed=seed)
        if last_end is None and not judged and not found.rows and not found.faults and window != closed[-1]:
            continue
        page_uri = _store_page(workspace, model, version, window, found)
        record_window(workspace, model, version, window, found, page_uri=page_uri)
        log.info("%s version %s, %s: %s %s", model, version, window, found.verdict, [*found.faults, *found.drifted])
        judged.append((window, found))
    return judged


def _store_page(workspace: Workspace, model: str, version: str, window: Window, judgement: Judgement) -> str | None:
    """Stores the page in the bucket and beside the version in MLflow; a window without rows has none."""
    if not judgement.comparisons and not judgement.faults:
        return None
    page = render_page(model, version, window, judgement)
    name = f"{window.start:%Y%m%dT%H%M%SZ}.html"
    uri = workspace.places.locate_drift_page(model, version, name)
    workspace.storage.write_bytes(uri, page)
    workspace.tracker.log_page(workspace.tracker.read_version(model, version).run_id, f"drift/{name}", page)
    return uri


def _write_notices(model: str, version: str, judged: list[tuple[Window, Judgement]], alarm: Alarm | None) -> list[str]:
    """Faults of the newest window, and the alarm; a window that drifts alone is no news yet."""
    if judged and judged[-1][1].faults:
        window, last = judged[-1]
        faults = "; ".join(last.faults[:5])
        return [
            f"{model} version {version}: faults of the data in the window from {window}: {faults}. "
            "Nothing is retrained while they last: correct the sender."
        ]
    return [] if alarm is None else [alarm.describe()]
