"""The steps of an attempt: three models on old and new rows, the choice, the gate, and the new reference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast

from ml_code.data.clean_files import CleanFiles
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.live_rows import LIVE_ID
from ml_code.data.snapshots import prepare_with, read_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import GateError
from ml_code.gate import evaluation, judging
from ml_code.gate.challenger import JUDGED, Challenger, open_challenger
from ml_code.gate.champion import DECISION, compare_with_champion
from ml_code.gate.decision import Decision
from ml_code.gate.slices import measure_slices
from ml_code.monitoring.drift.alarm import LOOKED_AT
from ml_code.monitoring.drift.history import list_between
from ml_code.monitoring.drift.reference import store_reference
from ml_code.monitoring.drift.windows import Window
from ml_code.monitoring.prediction_log.reading import read_watermark
from ml_code.monitoring.retraining import attempts
from ml_code.monitoring.retraining.attempts import Attempt, Outcome
from ml_code.monitoring.retraining.choice import Sides, choose_mix, divide_holdout, narrow_challenger
from ml_code.monitoring.retraining.labelled import find_within, read_labelled, read_live
from ml_code.monitoring.retraining.trigger import confirm_rows
from ml_code.monitoring.retraining.verdict import OldRows, choose_guard, judge_drift
from ml_code.signature import is_vouched
from ml_code.training import plans, run
from ml_code.training.mixes import list_mixes
from ml_code.training.plans import Mix, MixName, RunOrigin
from ml_code.training.reference import make_reference
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)


def train_mixes(workspace: Workspace, owner: str, origin: RunOrigin) -> list[str]:
    """Trains the attempt's model on each mix of its rows, and returns the MLflow runs.

    Raises:
        DataCheckError: too many live rows break the catalog's checks.
        StorageError: the store refuses.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    attempt = read_attempt(workspace, owner)
    dataset = workspace.load_dataset(workspace.catalog.list_models()[attempt.model])
    uri = _prepare(workspace, attempt, dataset)
    recipe = {name: part for name, part in plans.read_recipe(workspace.tracker, attempt.model).items() if name != "mix"}
    plan = plans.plan_training({"dataset": dataset.name, **recipe}, catalog_dir=workspace.settings.catalog_dir)
    train = split_holdout(dataset, read_snapshot(workspace, uri)).train
    runs: list[str] = []
    for name in list_mixes(dataset, train, attempt.since_ms):
        of_mix = replace(origin, task_id=f"{origin.task_id}/{name}")
        arguments = plans.training_arguments(plan) | {"mix": Mix(name, attempt.since_ms), "model": attempt.model}
        runs.append(run.train(workspace, snapshot_uri=uri, origin=of_mix, **arguments))
        judging.evaluate(workspace, runs[-1])
    return runs


@dataclass(frozen=True, slots=True)
class Judged:
    """What came out of an attempt; the version is empty unless the gate passed it or a person must decide."""

    decision: Decision
    outcome: Outcome
    version: str = ""


def decide(workspace: Workspace, owner: str, run_ids: Sequence[str]) -> Judged:
    """Chooses among the runs, judges the best one, and registers it if it passes or a person must decide.

    Raises:
        GateError: too few of the newest rows are held out, or the catalog was corrected since.
        StorageError: the store refuses.
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    attempt = read_attempt(workspace, owner)
    chosen, decision = _find_decided(workspace, run_ids) or _choose_and_judge(workspace, attempt, run_ids)
    if not decision.is_promoted:
        judged = Judged(decision, "rejected")
    else:
        _renew_reference(workspace, attempt, chosen)
        version = judging.register(workspace, chosen)
        judged = Judged(decision, "held" if decision.needs_approval else "promoted", version)
    if attempt.is_active and attempt.outcome is None:
        _close(workspace, attempt, judged)
    return judged


def read_attempt(workspace: Workspace, owner: str) -> Attempt:
    """Reads the attempt of a run.

    Raises:
        GateError: it has none.
        WarehouseError: the warehouse cannot be reached.
    """
    attempt = attempts.find_attempt(workspace.warehouse, owner)
    if attempt is None:
        raise GateError(f"retraining {owner}: found no attempt, expected the one that `ask` began; trigger a new run")
    return attempt


def _prepare(workspace: Workspace, attempt: Attempt, dataset: Dataset) -> str:
    """Stores the labelled rows as pending, and returns the snapshot that has them."""
    start = min(attempt.since, attempt.until - timedelta(days=dataset.drift.label_horizon_days))
    until = read_watermark(workspace) or attempt.until
    rows = read_labelled(workspace, attempt.model, dataset, start, max(until, attempt.until))
    pending = CleanFiles(workspace, dataset).add_live(rows, attempt.model)
    attempts.note_rows(workspace.warehouse, attempt, pending)
    log.info("%s: %d labelled rows from the log", attempt.model, len(rows))
    return prepare_with(workspace, dataset.name, pending)


def _find_decided(workspace: Workspace, run_ids: Sequence[str]) -> tuple[str, Decision] | None:
    """The run that a try before this one has judged, and its decision."""
    for run_id in run_ids:
        found = workspace.tracker.read_run(run_id)
        if DECISION in found.tags and is_vouched(workspace.settings, run_id, found.tags):
            return run_id, judging.read_decision(found)
    return None


def _choose_and_judge(workspace: Workspace, attempt: Attempt, run_ids: Sequence[str]) -> tuple[str, Decision]:
    tracker = workspace.tracker
    opened = [open_challenger(workspace, tracker.read_run(run_id)) for run_id in run_ids]
    by_mix = {cast("MixName", challenger.run.params["mix"]): challenger for challenger in opened}
    confirmed = CleanFiles(workspace, opened[0].dataset).list_confirmed()
    sides = divide_holdout(opened[0].holdout, attempt.since_ms, confirmed)
    newest = {name: narrow_challenger(challenger, sides.is_newest) for name, challenger in by_mix.items()}
    dataset, one = opened[0].dataset, next(iter(newest.values()))
    predicted = {name: challenger.predicted for name, challenger in newest.items()}
    mix = choose_mix(dataset, one.truth, predicted, one.clusters)
    ours = newest[mix]
    slices = measure_slices(dataset, ours.holdout, ours.predicted)
    evidence = judging.weigh_evidence(tracker, ours, slices)
    comparison = compare_with_champion(workspace, ours)
    old = _measure_old(workspace, by_mix[mix], sides)
    decision = judge_drift(dataset.name, dataset.gate, evidence, comparison, old, unattended=dataset.drift.unattended)
    judging.record_decision(workspace, ours.run, decision, slices)
    for loser in opened:
        if loser.run.run_id != ours.run.run_id:
            tracker.log(loser.run.run_id, tags={JUDGED: "not_chosen"})
    return ours.run.run_id, decision


def _measure_old(workspace: Workspace, challenger: Challenger, sides: Sides) -> OldRows | None:
    """Challenger and champion on the side of older rows that guards what was learned before; None if too few compare.

    Labels that contradict only what an earlier retraining learned would pass on the rows of files.
    """
    older = _measure_side(workspace, narrow_challenger(challenger, sides.is_old), "older ones")
    confirmed = _measure_side(workspace, narrow_challenger(challenger, sides.is_confirmed), "of earlier retrainings")
    return choose_guard([side for side in (older, confirmed) if side is not None])


def _measure_side(workspace: Workspace, challenger: Challenger, kind: str) -> OldRows | None:
    if challenger.holdout.empty:
        return None
    found = compare_with_champion(workspace, challenger)
    if found is None or found.champion_score is None or found.difference is None:
        return None
    score = evaluation.measure(challenger.dataset, challenger.truth, challenger.predicted)[
        challenger.dataset.gate.metric
    ]
    return OldRows(score, found.champion_score, found.difference, len(challenger.holdout), kind)


def _renew_reference(workspace: Workspace, attempt: Attempt, run_id: str) -> None:
    """Makes the windows that called for it the version's reference, or the alarm would never end."""
    challenger = open_challenger(workspace, workspace.tracker.read_run(run_id))
    rows = read_live(workspace, attempt.model, challenger.dataset, attempt.since, attempt.until)
    if calling := _list_calling(workspace, attempt):
        rows = rows[find_within(rows, calling)]
    trained = rows[LIVE_ID].isin(challenger.train[LIVE_ID].dropna())
    parts = Split(rows[trained].reset_index(drop=True), rows[~trained].reset_index(drop=True), "")
    store_reference(workspace, run_id, make_reference(challenger.dataset, parts, challenger.model))


def _list_calling(workspace: Workspace, attempt: Attempt) -> list[Window]:
    """The windows that drifted among the last ones; those between them were as before. Of a decline, none."""
    if attempt.cause != "drift":
        return []
    found = list_between(workspace, attempt.model, "drift", attempt.since, attempt.until)
    return [window for window in found if window.end > attempt.until - LOOKED_AT * (window.end - window.start)]


def _close(workspace: Workspace, attempt: Attempt, judged: Judged) -> None:
    """Notes the outcome; the rows of a promoted model count for every training from now on."""
    if judged.outcome == "promoted":
        confirm_rows(workspace, attempt)
    version, reason = judged.version or None, judged.decision.reason
    attempts.note_outcome(workspace.warehouse, attempt, judged.outcome, version=version, verdict=reason)
