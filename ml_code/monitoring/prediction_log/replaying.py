"""Answers one logged request again, with any version of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_code.errors import NoChampionError, SourceError
from ml_code.monitoring.prediction_log.blocks import REFUSED, read_time
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.workspace import Workspace

VARIANTS = ("champion", "challenger", "shadow", REFUSED)
TRAFFIC = ("live", "asked", "replay")


@dataclass(frozen=True, slots=True)
class ReplayedRow:
    """What was answered for a row, and what another version answers; a score is the answered class's probability."""

    row: int
    variant: str
    version: str
    prediction: str | float | None
    score: float | None
    again: Any
    again_score: float | None


@dataclass(frozen=True, slots=True)
class Replay:
    """One request; the replay had no value of the features in `missing`, as the log does not hold them.

    `trace_id` is None where the request came without a trace, and in rows that were logged before traces were.
    """

    model: str
    version: str
    trace_id: str | None
    rows: Sequence[ReplayedRow]
    missing: Sequence[str]


def replay_request(workspace: Workspace, request_id: str, version: str | None = None) -> Replay:
    """Finds a request by its id, and predicts its rows by a version, by default the champion.

    Raises:
        SourceError: the id is malformed, or the log holds no answered row of it.
        NoChampionError: the model has no champion, and no version is named.
        TrackingError: MLflow refuses, or has no such version.
        StorageError: the store refuses.
    """
    model, logged = _find_rows(workspace, request_id)
    version = version or _find_champion(workspace, model)
    from ml_code.model_file.onnx_model import OnnxModel  # noqa: PLC0415  not needed to find the rows

    opened = OnnxModel(workspace.tracker.read_model_file(model, version))
    names = [feature.name for feature in opened.spec.features]
    known = logged[0].get("features") or {}
    cells = [[(row.get("features") or {}).get(name) for name in names] for row in logged]
    answer = opened.predict_rows(cells)
    scores = [None] * len(logged) if answer.probabilities is None else answer.probabilities.max(axis=1).tolist()
    rows = [
        ReplayedRow(row["row"], row["variant"], row["version"], row["prediction"], row["score"], value, score)
        for row, value, score in zip(logged, answer.values, scores, strict=True)
    ]
    traced = logged[0].get("trace_id")
    missing = [name for name in names if name not in known]
    return Replay(model, version, traced and traced.hex(), rows, missing)


def _find_rows(workspace: Workspace, request_id: str) -> tuple[str, list[Mapping[str, Any]]]:
    """The model that answered, and the rows in their order."""
    start = _read_moment(request_id)
    digits = bytes.fromhex(request_id)
    is_refused = False
    for model in workspace.catalog.list_models():
        tables = read_log(
            workspace, model, start, start + timedelta(milliseconds=1), variants=VARIANTS, traffic=TRAFFIC
        )
        rows = [row for table in tables.values() for row in table.to_pylist() if row["request_id"] == digits]
        if answered := [row for row in rows if row["variant"] != REFUSED]:
            return model, sorted(answered, key=lambda row: (row["variant"] == "shadow", row["row"]))
        is_refused = is_refused or bool(rows)
    found = "a request that was refused" if is_refused else "no such request"
    raise SourceError(
        f"request {request_id}: found {found} in the log of {start:%Y-%m-%d %H}:00 UTC, expected an answered one; the "
        "DAG collect_predictions brings a request there after 11 minutes, and PREDICTION_LOG_DAYS ends its stay"
    )


def _read_moment(request_id: str) -> datetime:
    try:
        return datetime.fromtimestamp(read_time(request_id) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:  # malformed, or a year that no calendar has
        raise SourceError(
            f"request id: found {request_id[:64]!r}, expected the 32 hex digits of the header X-Request-Id of an "
            "answer; copy them from there"
        ) from error


def _find_champion(workspace: Workspace, model: str) -> str:
    version = workspace.tracker.read_aliases(model).get("champion")
    if version is None:
        raise NoChampionError(f"{model}: found no champion, expected one; name a version by --version")
    return version
