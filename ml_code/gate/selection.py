"""Chooses the best of several runs, and compares a pending version with the champion.

A pending version has the tag `gate=pending`: the gate has not judged it, so no rollout picks it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_code.dataset_rules import LOWER_IS_BETTER
from ml_code.errors import GateError, HeldBackError, ModelFileError
from ml_code.gate import judging
from ml_code.gate.challenger import JUDGED, open_challenger
from ml_code.gate.champion import compare_with_champion
from ml_code.gate.decision import ROUNDING, Decision, Trigger, verdict
from ml_code.workspace import Workspace

RUN_SCHEME = "runs:/"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a version goes to the gate, and the reason."""

    version: str | None
    is_better: bool
    reason: str


def choose_best(workspace: Workspace, run_uris: Sequence[str]) -> str:
    """Returns the run with the best score on the holdout, by the gate's metric; the first one if several are equal.

    Args:
        workspace: with MLflow and the catalog.
        run_uris: `runs:/<run id>` of runs on the same rows, measured by `judging.evaluate`.

    Raises:
        GateError: there is no run, a run is not measured, or their holdouts differ.
        TrackingError: MLflow refuses.
    """
    runs = [workspace.tracker.read_run(uri.removeprefix(RUN_SCHEME)) for uri in run_uris]
    if len({run.tags["holdout_id"] + run.tags["dataset_version"] for run in runs}) != 1:
        raise GateError(
            f"runs {list(run_uris)}: found none or several holdouts, expected one; train them on the same rows"
        )
    metric = workspace.load_dataset(runs[0].tags["dataset"]).gate.metric
    unmeasured = [run.run_id for run in runs if not math.isfinite(run.metrics.get(metric, math.nan))]
    if unmeasured:
        raise GateError(
            f"runs {unmeasured}: found no {metric}, expected a number for each; measure them by `evaluate` first"
        )
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(runs, key=lambda run: sign * run.metrics[metric])
    for loser in runs:
        if loser is not best:  # it met the holdout, so it counts as a try
            workspace.tracker.log(loser.run_id, tags={JUDGED: "not_chosen"})
    log.info("%s: %s", metric, {run.tags["estimator"]: run.metrics[metric] for run in runs})
    return f"{RUN_SCHEME}{best.run_id}"


def register_for_rollout(workspace: Workspace, run_id: str, trigger: Trigger = "manual") -> str:
    """Judges a run, registers its model if the gate promotes it, and returns the version.

    Raises:
        HeldBackError: the gate rejected it, or its version awaits approval.
        TrackingError: MLflow refuses.
    """
    decision = judging.decide(workspace, run_id, trigger=trigger)
    version = judging.register(workspace, run_id) if decision.is_promoted else None
    return _refuse_held_back(decision, version)


def compare_pending(workspace: Workspace, model: str) -> Choice:
    """Compares the newest version, if it is pending, with the champion on the same holdout.

    Raises:
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the sha256 of the run's file is not the stored one.
    """
    tracker = workspace.tracker
    newest = next(iter(tracker.list_versions(model)), None)
    if newest is None or newest.tags.get("gate") != judging.PENDING:
        return Choice(None, is_better=False, reason=f"{model}: no version is pending")
    try:
        comparison = compare_with_champion(workspace, open_challenger(workspace, tracker.read_run(newest.run_id)))
    except (GateError, ModelFileError) as error:
        return Choice(newest.version, is_better=False, reason=f"{model}: version {newest.version}: {error}")
    if comparison is None:
        return Choice(newest.version, is_better=True, reason=f"{model}: version {newest.version} is the first")
    if comparison.problem or comparison.difference is None:
        reason = f"{model}: version {newest.version} does not compare with the champion: {comparison.problem}"
        return Choice(newest.version, is_better=False, reason=reason)
    return Choice(
        newest.version,
        is_better=comparison.difference > ROUNDING,
        reason=f"{model}: version {newest.version}, {comparison.difference:+.4g} against {comparison.champion_version}",
    )


def judge_pending(workspace: Workspace, model: str, version: str, trigger: Trigger = "data") -> str:
    """Judges a pending version, writes the decision to its tags, and returns the version.

    Raises:
        HeldBackError: the gate rejected it, or it awaits approval.
        TrackingError: MLflow refuses.
    """
    tracker = workspace.tracker
    run_id = tracker.read_version(model, version).run_id
    decision = judging.decide(workspace, run_id, trigger=trigger)
    tags = judging.describe_decision(decision)
    tracker.tag_version(model, version, tags)
    judging.sign_version(workspace, tracker.read_run(run_id), version, tags)
    return _refuse_held_back(decision, version if decision.is_promoted else None)


def _refuse_held_back(decision: Decision, version: str | None) -> str:
    if version is None:
        raise HeldBackError(verdict(decision))
    if decision.needs_approval:
        text = f"{verdict(decision)}; `mlops deploy {decision.dataset} {version}` asks a person"
        raise HeldBackError(text, version)
    return version
