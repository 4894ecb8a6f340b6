"""Measures a run, decides on it at the gate, and registers its model; the run keeps the decision."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ml_code.data import features
from ml_code.data.snapshots import read_holdout
from ml_code.errors import GateError
from ml_code.gate import evaluation
from ml_code.gate.champion import compare_with_champion
from ml_code.gate.decision import Decision, Trigger, apply_gate, verdict
from ml_code.gate.model_card import write_card
from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.model_file.spec import Label
from ml_code.tracking import MODEL, RunRecord, Tracker
from ml_code.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECISION = "gate.decision"
PENDING = "pending"
"""Value of the tag `gate` of a registered version that the gate has not judged."""

log = logging.getLogger(__name__)


def decide(workspace: Workspace, run_id: str, trigger: Trigger = "manual", force: bool = False) -> Decision:
    """Judges the run's exported file against the champion; both are measured on the same rows.

    A run with a version keeps its decision: that version may be the champion by now.

    Raises:
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the sha256 of the run's file is not the stored one.
    """
    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    if DECISION in run.tags and any(DECISION in made.tags for made in tracker.list_versions(run.tags[MODEL], run_id)):
        return read_decision(run)
    dataset, holdout = read_holdout(workspace, run.tags)
    model = OnnxModel(tracker.read_candidate(run))
    predicted = evaluation.predict_rows(dataset, model, holdout)
    score = evaluation.measure(dataset, holdout[dataset.target], predicted)[dataset.gate.metric]
    comparison = compare_with_champion(tracker, run, dataset, holdout, model)
    decision = apply_gate(dataset.name, dataset.gate, score, len(holdout), comparison, trigger=trigger, force=force)
    _log_decision(tracker, run_id, decision)
    tracker.log_text(run_id, "model_card.md", write_card(dataset, run.tags, run.params, run.metrics, decision))
    return decision


def describe_decision(decision: Decision) -> dict[str, str]:
    """Tags of a version that the gate has judged."""
    # Only `passed` is rolled out automatically; a person approves a version by setting this tag.
    outcome = "needs_approval" if decision.needs_approval else "passed"
    return {"gate": outcome if decision.is_promoted else "rejected", DECISION: decision.to_json()}


def explain_rejection(workspace: Workspace, run_id: str) -> str:
    """Logs and returns why a run's model was not registered, and how to force it."""
    decision = read_decision(workspace.tracker.read_run(run_id))
    text = (
        f"{verdict(decision)}. Nothing was registered. To register it anyway, run it again with force: "
        f"the parameter `force` of the form, or `mlops train --dataset {decision.dataset} ... --force`."
    )
    log.warning("%s", text)
    return text


def read_decision(run: RunRecord) -> Decision:
    """Reads the decision on a run.

    Raises:
        GateError: the gate has not judged the run.
    """
    if DECISION not in run.tags:
        raise GateError(f"run {run.run_id}: found no decision, expected the gate's; judge it by `decide` first")
    return Decision.from_json(run.tags[DECISION])


def _log_decision(tracker: Tracker, run_id: str, decision: Decision) -> None:
    values = {
        "gate_score": decision.score,
        "gate_champion_score": decision.champion_score,
        "gate_difference": decision.difference,
        "gate_standard_error": decision.standard_error,
    }
    metrics = {name: value for name, value in values.items() if value is not None}
    tags = {"gate": decision.outcome, "gate.verdict": verdict(decision), DECISION: decision.to_json()}
    tracker.log(run_id, metrics=metrics, tags=tags)
    log.info("%s", verdict(decision))
    if decision.warning:
        log.warning("%s: %s", decision.dataset, decision.warning)


def evaluate(workspace: Workspace, run_id: str) -> dict[str, float]:
    """Measures the run's exported file on the holdout, and logs metrics and plots.

    Raises:
        TrackingError: MLflow refuses, or the run has no exported file.
    """
    from ml_code.training import plots  # noqa: PLC0415  matplotlib takes seconds to import

    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    dataset, holdout = read_holdout(workspace, run.tags)
    model = OnnxModel(tracker.read_candidate(run))
    predicted = evaluation.predict_rows(dataset, model, holdout)
    truth = holdout[dataset.target]
    metrics = evaluation.measure(dataset, truth, predicted)
    intervals = evaluation.measure_intervals(dataset, truth, predicted)
    if dataset.task == "regression":
        pictures = {"residuals": plots.draw_residuals(np.asarray(truth, np.float64), np.asarray(predicted.values))}
    else:
        pictures = _draw_classes(tracker, run_id, truth, predicted, model.spec.classes)
    tracker.log_figures(run_id, pictures)
    lowest = {f"{name}_low": low for name, (low, _) in intervals.items()}
    highest = {f"{name}_high": high for name, (_, high) in intervals.items()}
    tracker.log(run_id, metrics={**metrics, **lowest, **highest, "holdout_rows": float(len(holdout))})
    return metrics


def _draw_classes(
    tracker: Tracker, run_id: str, truth: pd.Series, predicted: Prediction, classes: Sequence[Label] | None
) -> dict[str, Figure]:
    """Draws the plots of a classification; a text beside them has the names that they cannot show."""
    from ml_code.training import labels, plots  # noqa: PLC0415

    names = sorted({*map(str, predicted.values), *map(str, truth.tolist()), *map(str, classes or [])})
    written = labels.show_labels(names)
    if written.key:
        tracker.log_text(run_id, "plots/class_names.txt", written.key)
    counts = evaluation.count_confusions(truth, predicted, names)
    pictures = {"confusion_matrix": plots.draw_confusions(counts, written.shown)}
    if classes is not None and predicted.probabilities is not None:
        is_class = np.array([[label == cell for label in classes] for cell in truth.tolist()])
        shown = dict(zip(names, written.shown, strict=True))
        of_classes = [shown[str(label)] for label in classes]
        pictures["calibration"] = plots.draw_calibration(is_class, predicted.probabilities, of_classes)
    return pictures


def register(workspace: Workspace, run_id: str, *, is_judged: bool = True) -> str:
    """Registers the run's exported file as a version of its model, and moves no alias.

    Args:
        workspace: with MLflow and the store.
        run_id: id of a run with an exported file.
        is_judged: False registers a version before the gate's decision; no rollout picks it.

    Raises:
        GateError: the gate has not judged the run, or rejected it.
        TrackingError: MLflow refuses.
    """
    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    decision = read_decision(run) if is_judged else None
    if decision and not decision.is_promoted:
        raise GateError(
            f"run {run_id}: found the verdict {verdict(decision)!r}, expected a promotion; "
            "train a better model, or force this one by the parameter force"
        )
    dataset, holdout = read_holdout(workspace, run.tags)
    content = tracker.read_candidate(run)
    tags = {
        **(describe_decision(decision) if decision else {"gate": PENDING}),
        "dataset_version": run.tags["dataset_version"],
        "holdout_id": run.tags["holdout_id"],
        "git_commit": run.tags["git_commit"],
        "model_type": run.tags["model_type"],
        "estimator": run.tags["estimator"],
    }
    return tracker.register(run.tags[MODEL], run_id, content, features.select_inputs(dataset, holdout.head(5)), tags)
