"""Measures what staleness costs: once for each closed window, on a bounded number of its rows."""

from __future__ import annotations

import logging

from ml_code.datasets import Dataset
from ml_code.errors import MlopsError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.monitoring.quality.history import LiveMetric, read_history
from ml_code.monitoring.quality.windows import Window
from ml_code.monitoring.staleness.history import StaleVersion, read_versions, record_versions
from ml_code.monitoring.staleness.page import render_page
from ml_code.monitoring.staleness.rows import find_unlearnt, read_newest
from ml_code.monitoring.staleness.scoring import Question, Scored, score_version
from ml_code.monitoring.staleness.served import Served, list_served
from ml_code.workspace import Workspace

LEAST_ROWS = 50
"""Labelled rows below which no version is told from another."""

WINDOWS = 5
"""Labelled windows that are read, the newest ones."""

log = logging.getLogger(__name__)


def measure_all(workspace: Workspace) -> None:
    """Measures every model of the catalog; one that fails does not stop the others.

    Raises:
        MlopsError: the error of the first model that failed, after all others.
    """
    failed: list[MlopsError] = []
    for model, dataset in workspace.catalog.list_models().items():
        try:
            measure_model(workspace, model, workspace.load_dataset(dataset))
        except MlopsError as error:
            log.exception("%s: the staleness of its versions is not measured", model)
            failed.append(error)
    if failed:
        raise failed[0]


def measure_model(workspace: Workspace, model: str, dataset: Dataset) -> list[StaleVersion]:
    """Scores the last versions that served on the newest labelled answers; each closed window brings one measurement.

    Returns:
        What was stored; nothing while no further window is closed, and before there are enough labels.

    Raises:
        ModelFileError: the champion's file cannot be opened.
        StorageError: the store refuses.
        TrackingError: MLflow refuses or cannot be reached.
        WarehouseError: the warehouse cannot be reached.
    """
    history = read_history(workspace, model)
    end = max((row.window_end for row in history), default=None)
    measured = next((found.window_end for found in read_versions(workspace, model)), None)
    if end is None or (measured is not None and measured >= end):
        return []
    champion = workspace.tracker.read_aliases(model).get("champion")
    windows = list_labelled(history)
    if champion is None or not windows:
        return []
    opened = OnnxModel(workspace.tracker.read_model_file(model, champion))
    rows = read_newest(workspace, model, windows, opened.spec.features)
    served = list_served(workspace, model, champion)
    if rows is not None:
        rows = rows.select(find_unlearnt(dataset, rows.rows, [version.created_at for version in served]))
    if rows is None or len(rows.rows) < LEAST_ROWS:
        log.info("%s: fewer than %d labelled answers that no version has learnt", model, LEAST_ROWS)
        return []
    return _compare(workspace, Question(model, dataset, rows, end), served)


def list_labelled(history: list[LiveMetric]) -> list[Window]:
    """The newest windows that have labels, the newest first."""
    found = {Window(row.window_start, row.window_end) for row in history if row.labelled and row.variant != "shadow"}
    return sorted(found, key=lambda window: window.end, reverse=True)[:WINDOWS]


def _compare(workspace: Workspace, question: Question, served: list[Served]) -> list[StaleVersion]:
    scored = [score_version(workspace, question, version) for version in served]
    champion, name = served[0].version, f"{question.end:%Y%m%dT%H%M%SZ}.html"
    uri = workspace.places.locate_staleness_page(question.model, name)
    versions = [_make_row(question, found, champion, uri) for found in scored]
    page = render_page(versions)
    workspace.storage.write_bytes(uri, page)
    run_id = workspace.tracker.read_version(question.model, champion).run_id
    workspace.tracker.log_page(run_id, f"staleness/{name}", page)
    record_versions(workspace.warehouse, versions)
    for found in versions:
        log.info("%s version %s: %s %s", found.model, found.version, found.metric, found.problem or found.score)
    return versions


def _make_row(question: Question, found: Scored, champion: str, uri: str) -> StaleVersion:
    return StaleVersion(
        question.model,
        question.end,
        found.version,
        found.version == champion,
        found.age_days,
        question.dataset.gate.metric,
        score=found.score.score if found.score else None,
        low=found.score.low if found.score else None,
        high=found.score.high if found.score else None,
        rows=len(question.rows.rows),
        rows_since=question.rows.since,
        problem=found.problem,
        page_uri=uri,
    )
