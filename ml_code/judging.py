"""What the gate makes of a trained run: both models are measured anew, and the decision stays on the run."""

from __future__ import annotations

import logging

from ml_code import evaluation, gate
from ml_code.champion import compare_with_champion
from ml_code.data.snapshots import read_holdout
from ml_code.errors import GateError
from ml_code.gate import Decision, Trigger, verdict
from ml_code.model_card import write_card
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import Settings, load_settings
from ml_code.tracking import MODEL, RunRecord, Tracker

DECISION = "gate.decision"
PENDING = "pending"
"""Of the tag `gate`: registered, and not judged yet."""

log = logging.getLogger(__name__)


def decide(
    run_id: str, trigger: Trigger = "manual", force: bool = False, *, settings: Settings | None = None
) -> Decision:
    """Lets the gate judge the run's exported file against the champion, both measured anew on the same rows.

    A run that has a version keeps the decision that made it: by now that version may be the champion itself.

    Raises:
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the run's file is not the one that was stored.
    """
    settings = settings or load_settings()
    tracker = Tracker(settings)
    run = tracker.read_run(run_id)
    if DECISION in run.tags and any(DECISION in made.tags for made in tracker.list_versions(run.tags[MODEL], run_id)):
        return read_decision(run)
    dataset, holdout = read_holdout(run.tags, settings)
    model = OnnxModel(tracker.read_candidate(run))
    answers = evaluation.answer_rows(dataset, model, holdout)
    score = evaluation.measure(dataset, holdout[dataset.target], answers)[dataset.gate.metric]
    comparison = compare_with_champion(tracker, run, dataset, holdout, model)
    decision = gate.decide(dataset.name, dataset.gate, score, len(holdout), comparison, trigger=trigger, force=force)
    _log_decision(tracker, run_id, decision)
    tracker.log_text(run_id, "model_card.md", write_card(dataset, run.tags, run.params, run.metrics, decision))
    return decision


def describe_decision(decision: Decision) -> dict[str, str]:
    """The tags of a version that the gate has judged."""
    # Only `passed` is rolled out without being asked; a person who approves a version sets it to that.
    outcome = "needs_approval" if decision.needs_approval else "passed"
    return {"gate": outcome if decision.is_promoted else "rejected", DECISION: decision.to_json()}


def explain_rejection(run_id: str, *, settings: Settings | None = None) -> str:
    """Says and logs why a run's model was not registered, and how to force it."""
    decision = read_decision(Tracker(settings or load_settings()).read_run(run_id))
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
