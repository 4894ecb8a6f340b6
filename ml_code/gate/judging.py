"""Measures a trained run, judges it in the gate, and registers it if it passed; the run keeps the decision."""

from __future__ import annotations

import logging

import numpy as np

from ml_code.data import features
from ml_code.data.snapshots import read_holdout
from ml_code.errors import GateError
from ml_code.gate import evaluation
from ml_code.gate.champion import compare_with_champion
from ml_code.gate.decision import Decision, Trigger, apply_gate, verdict
from ml_code.gate.model_card import write_card
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.tracking import MODEL, RunRecord, Tracker
from ml_code.workspace import Workspace

DECISION = "gate.decision"
PENDING = "pending"
"""Of the tag `gate`: registered, and not judged yet."""

log = logging.getLogger(__name__)


def decide(workspace: Workspace, run_id: str, trigger: Trigger = "manual", force: bool = False) -> Decision:
    """Judges the run's exported file against the champion, both measured again on the same rows.

    A run that has a version keeps the decision that made it: by now that version may be the champion itself.

    Raises:
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the run's file is not the one that was stored.
    """
    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    if DECISION in run.tags and any(DECISION in made.tags for made in tracker.list_versions(run.tags[MODEL], run_id)):
        return read_decision(run)
    dataset, holdout = read_holdout(workspace, run.tags)
    model = OnnxModel(tracker.read_candidate(run))
    answers = evaluation.answer_rows(dataset, model, holdout)
    score = evaluation.measure(dataset, holdout[dataset.target], answers)[dataset.gate.metric]
    comparison = compare_with_champion(tracker, run, dataset, holdout, model)
    decision = apply_gate(dataset.name, dataset.gate, score, len(holdout), comparison, trigger=trigger, force=force)
    _log_decision(tracker, run_id, decision)
    tracker.log_text(run_id, "model_card.md", write_card(dataset, run.tags, run.params, run.metrics, decision))
    return decision


def describe_decision(decision: Decision) -> dict[str, str]:
    """The tags of a version that the gate has judged."""
    # Only `passed` is rolled out without being asked; a person who approves a version sets it to that.
    outcome = "needs_approval" if decision.needs_approval else "passed"
    return {"gate": outcome if decision.is_promoted else "rejected", DECISION: decision.to_json()}


def explain_rejection(workspace: Workspace, run_id: str) -> str:
    """Says and logs why a run's model was not registered, and how to force it."""
    decision = read_decision(workspace.tracker.read_run(run_id))
    text = (
        f"{verdict(decision)}. Nothing was registered. To register it nevertheless, run it again with force: "
        f"the parameter `force` of the form, or `mlops train --dataset {decision.dataset} ... --force`."
    )
    log.warning("%s", text)
    return text


def read_decision(run: RunRecord) -> Decision:
    """The decision on a run.

    Raises:
        GateError: the run was not judged.
    """
    if DECISION not in run.tags:
        raise GateError(f"run {run.run_id}: found no decision, expected the gate's; let the gate judge it first")
    return Decision.from_json(run.tags[DECISION])


def _log_decision(tracker: Tracker, run_id: str, decision: Decision) -> None:
    figures = {
        "gate_score": decision.score,
        "gate_champion_score": decision.champion_score,
        "gate_difference": decision.difference,
        "gate_standard_error": decision.standard_error,
    }
    metrics = {name: value for name, value in figures.items() if value is not None}
    tags = {"gate": decision.outcome, "gate.verdict": verdict(decision), DECISION: decision.to_json()}
    tracker.log(run_id, metrics=metrics, tags=tags)
    log.info("%s", verdict(decision))
    if decision.warning:
        log.warning("%s: %s", decision.dataset, decision.warning)


def evaluate(workspace: Workspace, run_id: str) -> dict[str, float]:
    """Measures the run's exported file on the holdout, and logs figures and a picture.

    Raises:
        TrackingError: MLflow refuses, or the run has no exported file.
    """
    from ml_code.training import plots  # noqa: PLC0415

    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    dataset, holdout = read_holdout(workspace, run.tags)
    model = OnnxModel(tracker.read_candidate(run))
    answers = evaluation.answer_rows(dataset, model, holdout)
    truth = holdout[dataset.target]
    metrics = evaluation.measure(dataset, truth, answers)
    intervals = evaluation.measure_intervals(dataset, truth, answers)
    if dataset.task == "regression":
        figures = {"residuals": plots.draw_residuals(np.asarray(truth, np.float64), np.asarray(answers.values))}
    else:
        labels = sorted({*map(str, answers.values), *map(str, truth.tolist())})
        figures = {
            "confusion_matrix": plots.draw_confusions(evaluation.count_confusions(truth, answers, labels), labels)
        }
        if model.spec.classes is not None and answers.probabilities is not None:
            is_class = np.array([[label == cell for label in model.spec.classes] for cell in truth.tolist()])
            figures["calibration"] = plots.draw_calibration(is_class, answers.probabilities, model.spec.classes)
    tracker.log_figures(run_id, figures)
    lowest = {f"{name}_low": low for name, (low, _) in intervals.items()}
    highest = {f"{name}_high": high for name, (_, high) in intervals.items()}
    tracker.log(run_id, metrics={**metrics, **lowest, **highest, "holdout_rows": float(len(holdout))})
    return metrics


def register(workspace: Workspace, run_id: str, *, is_judged: bool = True) -> str:
    """Registers the run's exported file as a version of its model; moves no alias.

    Args:
        workspace: with MLflow and the store.
        run_id: of a run that has an exported file.
        is_judged: False registers a version on which the gate has still to decide; no rollout picks it.

    Raises:
        GateError: the run was not judged, or did not pass.
        TrackingError: MLflow refuses.
    """
    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    decision = read_decision(run) if is_judged else None
    if decision and not decision.is_promoted:
        raise GateError(
            f"run {run_id}: found the verdict {verdict(decision)!r}, expected a pass; "
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
