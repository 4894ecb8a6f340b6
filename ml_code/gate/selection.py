"""Chooses among trained models: the best of several runs, and whether a version that waits is better than the champion.

A version that waits is registered with the tag `gate=pending`: no gate has judged it, so no rollout picks it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_code.data.snapshots import read_holdout
from ml_code.datasets import LOWER_IS_BETTER
from ml_code.errors import GateError, HeldBackError
from ml_code.gate import judging
from ml_code.gate.champion import compare_with_champion
from ml_code.gate.decision import ROUNDING, Decision, Trigger, verdict
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.workspace import Workspace

RUN_SCHEME = "runs:/"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a version goes on to the gate, and why or why not."""

    version: str | None
    is_better: bool
    reason: str


def choose_best(workspace: Workspace, run_uris: Sequence[str]) -> str:
    """The run whose model has the best figure on the holdout, by the metric of the gate; of equal ones the first.

    Args:
        workspace: with MLflow and the catalog.
        run_uris: `runs:/<run id>` of runs on the same rows, each measured by `judging.evaluate`.

    Raises:
        GateError: there is no run, one was not measured, or they held out other rows.
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
            f"runs {unmeasured}: found no {metric}, expected a number for each; let `evaluate` measure them first"
        )
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(runs, key=lambda run: sign * run.metrics[metric])
    log.info("%s: %s", metric, {run.tags["estimator"]: run.metrics[metric] for run in runs})
    return f"{RUN_SCHEME}{best.run_id}"


def register_for_rollout(workspace: Workspace, run_id: str, trigger: Trigger = "manual") -> str:
    """Judges a run and registers its model if it may be rolled out; returns the version.

    Raises:
        HeldBackError: the gate rejected it, or it is registered and waits for a person.
        TrackingError: MLflow refuses.
    """
    decision = judging.decide(workspace, run_id, trigger=trigger)
    version = judging.register(workspace, run_id) if decision.is_promoted else None
    return _refuse_held_back(decision, version)


def compare_pending(workspace: Workspace, model: str) -> Choice:
    """Compares the newest version, if no gate has judged it, with the champion on the same holdout.

    Raises:
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the run's file is not the one that was stored.
    """
    tracker = workspace.tracker
    newest = next(iter(tracker.list_versions(model)), None)
    if newest is None or newest.tags.get("gate") != judging.PENDING:
        return Choice(None, is_better=False, reason=f"{model}: no version waits")
    run = tracker.read_run(newest.run_id)
    dataset, holdout = read_holdout(workspace, run.tags)
    comparison = compare_with_champion(tracker, run, dataset, holdout, OnnxModel(tracker.read_candidate(run)))
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
    """Judges a version that waits, and records the decision in its tags; returns the version.

    Raises:
        HeldBackError: the gate rejected it, or it goes on to wait for a person.
        TrackingError: MLflow refuses.
    """
    tracker = workspace.tracker
    decision = judging.decide(workspace, tracker.read_version(model, version).run_id, trigger=trigger)
    tracker.tag_version(model, version, judging.describe_decision(decision))
    return _refuse_held_back(decision, version if decision.is_promoted else None)


def _refuse_held_back(decision: Decision, version: str | None) -> str:
    if version is None:
        raise HeldBackError(verdict(decision))
    if decision.needs_approval:
        text = f"{verdict(decision)}; version {version} waits: set its tag gate to passed to let it serve"
        raise HeldBackError(text, version)
    return version
