"""Measures the closed windows of each model, again when their labels change, and tells when labels stay away."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml_code.datasets import Dataset
from ml_code.errors import MlopsError
from ml_code.monitoring.quality.answered import Answered, split_answers
from ml_code.monitoring.quality.coverage import Arrivals, Fall, find_falls
from ml_code.monitoring.quality.figures import measure_answers
from ml_code.monitoring.quality.history import LiveMetric, make_row, mark_few_labels, read_measured, write_window
from ml_code.monitoring.quality.holdout import Reference, read_reference
from ml_code.monitoring.quality.source import JoinedLog, Source
from ml_code.monitoring.quality.windows import Window, list_windows
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)


def measure_all(workspace: Workspace, now: datetime) -> list[str]:
    """Measures every model of the catalog that has answered; one that fails does not stop the others.

    Returns:
        What a person should be told, a sentence for each model whose labels stay away.

    Raises:
        MlopsError: the error of the first model that failed, after all others.
    """
    notices: list[str] = []
    failed: list[MlopsError] = []
    source, known = JoinedLog(workspace), workspace.catalog.list_models()
    for model in source.list_models():
        if model not in known:
            log.warning("%s: found answers of a model that the catalog does not have; they are not measured", model)
            continue
        try:
            notices += measure_model(workspace, model, now, source)
        except MlopsError as error:
            log.exception("%s: not measured", model)
            failed.append(error)
    if failed:
        raise failed[0]
    return notices


def measure_model(workspace: Workspace, model: str, now: datetime, source: Source | None = None) -> list[str]:
    """Measures the windows of a model that are new or whose labels have changed.

    A window is closed when the log is complete up to its end. Labels count as long as the catalog's
    `label_horizon_days` says.

    Returns:
        What a person should be told.

    Raises:
        CatalogError: the catalog has no such model.
        StorageError: the store refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    source = source or JoinedLog(workspace)
    watermark = source.find_watermark()
    if watermark is None:
        return []
    dataset = workspace.load_dataset(workspace.catalog.list_models()[model])
    earliest = watermark - timedelta(days=dataset.drift.label_horizon_days)
    spans = source.list_spans(model, earliest)
    windows = list_windows(spans, dataset.drift.window_hours, earliest=earliest, until=watermark)
    if not windows:
        return []
    labels = split_labels(source.read_labels(model, windows[0].start, windows[-1].end), windows)
    _measure_changed(workspace, dataset, model, source, labels)
    return _tell_falls(workspace, model, labels, earliest, now)


def split_labels(labels: pa.Table, windows: Sequence[Window]) -> dict[Window, pa.Table]:
    """The labels of each window, by the time in the ids of their requests."""
    times = read_times(labels)
    edges = [(window.start.timestamp() * 1000, window.end.timestamp() * 1000) for window in windows]
    return {
        window: labels.filter(pa.array((times >= start) & (times < end)))
        for window, (start, end) in zip(windows, edges, strict=True)
    }


def read_times(labels: pa.Table) -> npt.NDArray[np.int64]:
    """The time of each prediction in milliseconds: the first six bytes of its request's id, a UUIDv7."""
    ids = labels.column("request_id").to_pylist()
    return np.array([int.from_bytes(request_id[:6], "big") for request_id in ids], dtype=np.int64)


def digest_labels(labels: pa.Table) -> str:
    """Digest of the labels, whatever their order."""
    columns = [labels.column(name).to_pylist() for name in ("request_id", "row", "label")]
    digest = hashlib.sha256()
    for request_id, row, label in sorted(zip(*columns, strict=True), key=lambda entry: entry[:2]):
        digest.update(request_id + str(row).encode() + b":" + str(label).encode() + b"\n")
    return digest.hexdigest()[:16]


def _measure_changed(
    workspace: Workspace, dataset: Dataset, model: str, source: Source, labels: Mapping[Window, pa.Table]
) -> None:
    stored = read_measured(workspace.warehouse, model, min(labels).start)
    references: dict[str, Reference] = {}
    for window, known in labels.items():
        digest, before = digest_labels(known), stored.get(window)
        if before is not None and before.labels_digest == digest:
            continue
        parts = split_answers(source.read_joined(model, window, known))
        if not parts:
            continue
        answered = sum(len(part.rows) for part in parts if part.variant != "shadow")
        if before is not None and answered < before.rows:
            log.warning(
                "%s, window to %s: found %d answers in the log, expected %d as at its first measurement; its figures "
                "stay as they are",
                *(model, window.end, answered, before.rows),
            )
            continue
        rows: list[LiveMetric] = []
        for part in parts:
            if part.version not in references:
                references[part.version] = read_reference(workspace, dataset, model, part.version)
            rows += _measure_part(dataset, (model, window, digest), part, references[part.version])
        write_window(workspace.warehouse, model, window, rows)
        log.info("%s, window to %s: %d answers, %d labels", model, window.end, answered, len(known))


def _measure_part(
    dataset: Dataset, place: tuple[str, Window, str], part: Answered, reference: Reference
) -> list[LiveMetric]:
    model, window, digest = place
    names, beside = (model, part.version, part.variant), reference.score
    return [
        make_row(names, window, figure, metric=dataset.gate.metric, holdout=beside, digest=digest)
        for figure in measure_answers(dataset, part, reference)
    ]


def _tell_falls(
    workspace: Workspace, model: str, labels: Mapping[Window, pa.Table], earliest: datetime, now: datetime
) -> list[str]:
    """Marks the windows whose coverage has fallen, and returns a sentence for the first of each row of them."""
    stored = read_measured(workspace.warehouse, model, earliest)
    arrivals = [
        Arrivals(window, stored[window].rows, _read_receipts(known))
        for window, known in labels.items()
        if window in stored and stored[window].rows
    ]
    falls = {fall.window: fall for fall in find_falls(arrivals, now.timestamp() * 1000)}
    ordered = [arrival.window for arrival in arrivals]
    changed = {window: window in falls for window in ordered if stored[window].has_few_labels != (window in falls)}
    if changed:
        mark_few_labels(workspace.warehouse, model, changed)
    return [
        _describe(model, falls[window])
        for before, window in zip([None, *ordered], ordered, strict=False)
        if changed.get(window) and before not in falls
    ]


def _read_receipts(labels: pa.Table) -> npt.NDArray[np.int64]:
    received = labels.column("received_at").cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
    return np.asarray(received.to_numpy(), dtype=np.int64)


def _describe(model: str, fall: Fall) -> str:
    return (
        f"{model}: found labels of {fall.coverage:.0%} of the answers from {fall.window.start:%Y-%m-%d %H:%M} to "
        f"{fall.window.end:%Y-%m-%d %H:%M} UTC, expected about {fall.usual:.0%} as in earlier windows at that age; "
        "check the program that sends them to /feedback"
    )
