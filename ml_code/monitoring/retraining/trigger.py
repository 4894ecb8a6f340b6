"""Decides whether a model is trained again: what calls for it, and what is in the way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ml_code.data.clean_files import CleanFiles
from ml_code.datasets import Dataset
from ml_code.errors import MlopsError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import Label
from ml_code.monitoring.drift.alarm import find_alarm
from ml_code.monitoring.drift.history import read_windows
from ml_code.monitoring.prediction_log.reading import read_watermark
from ml_code.monitoring.quality.decline import find_decline
from ml_code.monitoring.retraining import attempts
from ml_code.monitoring.retraining.attempts import Attempt, Call
from ml_code.monitoring.retraining.conditions import Situation, find_obstacle
from ml_code.monitoring.retraining.labelled import choose_new, count_classes, list_unlogged, read_labelled
from ml_code.verdicts import FAILED, read_verdicts
from ml_code.workspace import Workspace

LONGEST_ATTEMPT = timedelta(hours=24)
"""An attempt without an outcome has failed by then: its task has a shorter time limit."""

LONGEST_WAIT = timedelta(days=30)
"""A version that waits for a person so long keeps no other retraining from its model."""

ACTIVE_ROLLOUT = "SELECT kind, to_version FROM warehouse.rollout WHERE model = %s AND ended_at IS NULL"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether an attempt began; `says` is the reason in words, and `is_notice` whether a person should read it."""

    begins: bool
    says: str
    is_notice: bool = False


def ask(workspace: Workspace, model: str, owner: str) -> Answer:
    """Begins an attempt of the run `owner`, or says what is missing. A repeated call finds its attempt.

    Raises:
        CatalogError: the catalog has no such model.
        StorageError: the store refuses.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    warehouse = workspace.warehouse
    if attempts.find_attempt(warehouse, owner):
        return Answer(begins=True, says="this run's attempt goes on")
    settle(workspace)
    call = find_call(workspace, model)
    if call is None:
        return Answer(begins=False, says=f"{model}: neither drift nor a decline calls for it any more")
    dataset = workspace.load_dataset(workspace.catalog.list_models()[model])
    situation = describe_situation(workspace, call, dataset)
    if obstacle := find_obstacle(dataset.drift, situation, datetime.now(UTC)):
        return Answer(begins=False, says=f"{model} is not trained again yet: {obstacle}. {call.reason}", is_notice=True)
    if attempts.begin(warehouse, call, owner, situation.labels) is None:
        return Answer(begins=False, says=f"{model}: another retraining of it has just begun")
    return Answer(begins=True, says=call.reason, is_notice=True)


def settle(workspace: Workspace) -> list[str]:
    """Ends attempts whose version a person has decided on, or that were interrupted; returns what it found.

    Labelled rows count for every training once a model that was trained on them serves.

    Raises:
        StorageError: the store refuses.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    found = []
    for attempt in attempts.list_active(workspace.warehouse):
        if attempt.outcome == "held" and attempt.version is not None:
            try:
                found += _settle_held(workspace, attempt, attempt.version)
            except (MlopsError, KeyError):  # such as of a version that was deleted; other models go on
                log.exception("%s: the attempt with version %s is not settled", attempt.model, attempt.version)
        elif attempt.outcome is None and datetime.now(UTC) > attempt.asked_at + LONGEST_ATTEMPT:
            attempts.note_outcome(workspace.warehouse, attempt, "failed")
            found.append(f"{attempt.model}: the attempt of {attempt.asked_at:%Y-%m-%d %H:%M} UTC was interrupted")
    return found


def confirm_rows(workspace: Workspace, attempt: Attempt) -> None:
    """Makes the rows of an attempt count for every training of the dataset.

    Raises:
        StorageError: the store refuses.
    """
    if attempt.rows_file is not None:
        dataset = workspace.load_dataset(workspace.catalog.list_models()[attempt.model])
        CleanFiles(workspace, dataset).confirm_live(attempt.rows_file)


def find_call(workspace: Workspace, model: str) -> Call | None:
    """What calls for a retraining; drift comes first, because its windows are known.

    Raises:
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    if alarm := find_alarm(workspace, model):
        return Call(model, "drift", alarm.describe(), alarm.began, alarm.windows[-1].end)
    if decline := find_decline(workspace, model):
        return Call(model, "decline", decline.describe(), decline.since, decline.until)
    return None


def describe_situation(workspace: Workspace, call: Call, dataset: Dataset) -> Situation:
    """Collects what the conditions judge by.

    Raises:
        StorageError: the store refuses.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    last = attempts.read_last(workspace.warehouse, call.model)
    version = workspace.tracker.read_aliases(call.model).get("champion")
    until = read_watermark(workspace) or call.until
    unlogged = list_unlogged(dataset)
    rows = read_labelled(workspace, call.model, dataset, call.since, max(until, call.until))
    new = choose_new(rows, call.since.timestamp() * 1000, last.asked_at if last else None)
    return Situation(
        labels=len(new),
        by_class=count_classes(dataset, new, _list_classes(workspace, call.model, version)),
        faults=_list_faults(workspace, call.model, version),
        unlogged=unlogged,
        busy=_find_busy(workspace, call.model, dataset),
        last=last,
    )


def _settle_held(workspace: Workspace, attempt: Attempt, version: str) -> list[str]:
    if datetime.now(UTC) > attempt.asked_at + LONGEST_WAIT:
        attempts.note_outcome(workspace.warehouse, attempt, "rejected")
        return [f"{attempt.model}: version {version} waited too long for a person"]
    champion = workspace.tracker.read_aliases(attempt.model).get("champion")
    if champion == version:
        confirm_rows(workspace, attempt)
        attempts.note_outcome(workspace.warehouse, attempt, "promoted")
        return [f"{attempt.model}: version {version} serves, and its live rows count from now on"]
    is_overtaken = champion is not None and champion.isdigit() and version.isdigit() and int(champion) > int(version)
    if is_overtaken or read_verdicts(workspace.warehouse, attempt.model).get(version) in FAILED:
        attempts.note_outcome(workspace.warehouse, attempt, "rejected")
        return [f"{attempt.model}: version {version} was not approved"]
    return []


def _list_classes(workspace: Workspace, model: str, version: str | None) -> list[Label]:
    """The champion's classes: a retraining must not lose one."""
    if version is None:
        return []
    return list(OnnxModel(workspace.tracker.read_model_file(model, version)).spec.classes or [])


def _list_faults(workspace: Workspace, model: str, version: str | None) -> list[str]:
    windows = read_windows(workspace, model, version, limit=1) if version else []
    if not windows or windows[0].verdict != "quality":
        return []
    return [str(fault) for fault in windows[0].figures.get("faults", [])] or ["its newest window"]


def _find_busy(workspace: Workspace, model: str, dataset: Dataset) -> str | None:
    """What else is under way with the model."""
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(ACTIVE_ROLLOUT, (model,))
        found = cursor.fetchone()
    if found:
        return f"a {found[0]} to version {found[1]} is under way"
    began_after = datetime.now(UTC) - LONGEST_ATTEMPT
    running = workspace.tracker.list_running(dataset.name, model, began_after)
    return f"the training {running[0]} is under way" if running else None
