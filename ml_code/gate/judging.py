"""Measures a run, decides on it at the gate, and registers its model; the run keeps the decision."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ml_code.data import features
from ml_code.errors import GateError
from ml_code.gate import evaluation
from ml_code.gate.baselines import measure_baselines
from ml_code.gate.challenger import JUDGED, Challenger, count_tries, open_challenger, read_split
from ml_code.gate.champion import DECISION, compare_with_champion
from ml_code.gate.decision import Decision, Trigger, apply_gate, verdict
from ml_code.gate.evidence import Evidence, Slice, count_effective_rows
from ml_code.gate.model_card import write_card
from ml_code.gate.slices import list_counting, measure_slices, write_slices
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Label
from ml_code.signature import SIGNED, find_signer, is_signed, is_vouched
from ml_code.telemetry import span
from ml_code.tracking import MODEL, SHA256, RunRecord, Tracker
from ml_code.ways import FIT, WORKERS
from ml_code.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PENDING = "pending"
"""Value of the tag `gate` of a registered version that the gate has not judged."""

log = logging.getLogger(__name__)


@span("decide")
def decide(
    workspace: Workspace,
    run_id: str,
    trigger: Trigger = "manual",
    force: bool = False,
    *,
    asker: str | None = None,
) -> Decision:
    """Judges the run's exported file against the champion; both are measured on the same rows.

    A run with a version keeps its decision: that version may be the champion by now.

    Args:
        workspace: with MLflow and the store.
        run_id: id of a run with an exported file.
        trigger: cause of the run.
        force: registers the model in any case.
        asker: whose form forces it. The rollout of what the gate does not pass then asks another person. None: the
            holder of the stack's secrets, at a shell.

    Raises:
        GateError: no training made the run, the catalog was corrected since, or its metric cannot be measured.
        TrackingError: MLflow refuses, or a file is missing.
        DigestError: the sha256 of the run's file is not the stored one.
    """
    tracker = workspace.tracker
    run = tracker.read_run(run_id)
    is_own = DECISION in run.tags and is_vouched(workspace.settings, run.run_id, run.tags)
    if is_own and any(DECISION in made.tags for made in tracker.list_versions(run.tags[MODEL], run_id)):
        return read_decision(run)
    challenger = open_challenger(workspace, run)
    dataset = challenger.dataset
    slices = measure_slices(dataset, challenger.holdout, challenger.predicted)
    evidence = weigh_evidence(tracker, challenger, slices)
    comparison = compare_with_champion(workspace, challenger)
    decision = apply_gate(dataset.name, dataset.gate, evidence, comparison, trigger=trigger, force=force)
    if force and asker is not None:
        unforced = apply_gate(dataset.name, dataset.gate, evidence, comparison, trigger=trigger)
        decision = note_asker(decision, unforced, asker)
    record_decision(workspace, run, decision, slices)
    return decision


def note_asker(forced: Decision, unforced: Decision, asker: str) -> Decision:
    """The decision on a model that a form forces: its rollout asks a person, unless the model passes without force."""
    if unforced.is_promoted and not unforced.needs_approval:
        return unforced
    return replace(forced, forced_by=asker)


def weigh_evidence(tracker: Tracker, challenger: Challenger, slices: Sequence[Slice]) -> Evidence:
    """Measures a challenger and its baselines, and counts the tries on its snapshot.

    Raises:
        GateError: the gate's metric cannot be measured.
        TrackingError: MLflow refuses.
    """
    dataset, truth = challenger.dataset, challenger.truth
    baselines = measure_baselines(tracker, challenger)
    counting = list_counting(slices, dataset.gate.slice_rows)
    class_rows = [len(truth)] if dataset.task == "regression" else truth.value_counts().tolist()
    return Evidence(
        score=evaluation.measure(dataset, truth, challenger.predicted)[dataset.gate.metric],
        holdout_rows=len(truth),
        dummy=baselines.dummy,
        linear_score=baselines.linear_score,
        effective_rows=count_effective_rows(dataset.gate.metric, class_rows),
        holdout_groups=None if challenger.clusters is None else len(set(challenger.clusters.tolist())),
        tries=count_tries(tracker, challenger.run),
        low_slice=counting[0] if counting else None,
        unseen_classes=sorted(map(str, challenger.unseen_classes)),
    )


def describe_decision(decision: Decision) -> dict[str, str]:
    """Tags of a version that the gate has judged."""
    # Only `passed` is rolled out automatically; a person approves a version by setting this tag.
    outcome = "needs_approval" if decision.needs_approval else "passed"
    return {"gate": outcome if decision.is_promoted else "rejected", DECISION: decision.to_json()}


def explain_rejection(workspace: Workspace, run_id: str) -> str:
    """Logs and returns why a run's model was not registered, and how to force it."""
    decision = read_decision(workspace.tracker.read_run(run_id))
    text = (
        f"{verdict(decision)}. Nothing was registered. Train on more rows or with other hyperparameters. To register "
        f"it anyway, run it again with force: the parameter `force` of the form, which another person approves, or "
        f"`mlops train --dataset {decision.dataset} ... --force`."
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


def sign_version(workspace: Workspace, run: RunRecord, version: str, tags: Mapping[str, str]) -> None:
    """Signs what the gate decided on a version; its file is that of the run.

    Raises:
        GateError: the decision on the run is not the gate's.
    """
    signer = find_signer(workspace.settings)
    if signer is None:
        log.warning("%s version %s: not signed, so a person must approve its rollout", run.tags[MODEL], version)
        return
    _refuse_unsigned(workspace, run)
    facts = {**tags, SHA256: run.tags[SHA256], "holdout_id": run.tags["holdout_id"]}
    workspace.tracker.tag_version(
        run.tags[MODEL], version, {SIGNED: signer.sign_version(run.tags[MODEL], version, facts)}
    )


def _refuse_unsigned(workspace: Workspace, run: RunRecord) -> None:
    if not is_vouched(workspace.settings, run.run_id, run.tags):
        raise GateError(
            f"run {run.run_id}: not signed: found another decision or file than the gate signed, expected the same; "
            "train again by `mlops train`"
        )


def record_decision(workspace: Workspace, run: RunRecord, decision: Decision, slices: Sequence[Slice]) -> None:
    """Writes a decision on its run and signs it, with the slices and the model card beside it."""
    values = {
        "gate_score": decision.score,
        "gate_champion_score": decision.champion_score,
        "gate_difference": decision.difference,
        "gate_standard_error": decision.standard_error,
        "gate_tries": float(decision.tries),
        "baseline_dummy": decision.baseline_dummy,
        "baseline_linear": decision.baseline_linear,
    }
    tags = {JUDGED: decision.outcome, "gate.verdict": verdict(decision), DECISION: decision.to_json()}
    if signer := find_signer(workspace.settings):
        tags[SIGNED] = signer.sign_run(run.run_id, {**run.tags, **tags})
    tracker, dataset = workspace.tracker, workspace.load_dataset(run.tags["dataset"])
    tracker.log(run.run_id, metrics={name: value for name, value in values.items() if value is not None}, tags=tags)
    tracker.log_text(run.run_id, "slices.json", write_slices(slices))
    card = write_card(dataset, run.tags, run.params, run.metrics, decision, slices=slices)
    tracker.log_text(run.run_id, "model_card.md", card)
    log.info("%s", verdict(decision))
    if decision.warning:
        log.warning("%s: %s", decision.dataset, decision.warning)


@span("evaluate")
def evaluate(workspace: Workspace, run_id: str) -> dict[str, float]:
    """Measures the run's exported file on the holdout, and logs metrics and plots.

    Raises:
        GateError: no training made the run, the catalog was corrected since, or its metric cannot be measured.
        TrackingError: MLflow refuses, or the run has no exported file.
    """
    tracker = workspace.tracker
    challenger = open_challenger(workspace, tracker.read_run(run_id))
    dataset, truth, predicted = challenger.dataset, challenger.truth, challenger.predicted
    metrics = evaluation.measure(dataset, truth, predicted)
    intervals = evaluation.measure_intervals(dataset, truth, predicted, challenger.clusters)
    tracker.log_figures(run_id, _draw_plots(tracker, challenger))
    lowest = {f"{name}_low": low for name, (low, _) in intervals.items()}
    highest = {f"{name}_high": high for name, (_, high) in intervals.items()}
    tracker.log(run_id, metrics={**metrics, **lowest, **highest, "holdout_rows": float(len(truth))})
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


@span("register")
def register(workspace: Workspace, run_id: str, *, is_judged: bool = True) -> str:
    """Registers the run's exported file as a version of its model, and moves no alias.

    Args:
        workspace: with MLflow and the store.
        run_id: id of a run with an exported file.
        is_judged: False registers a version before the gate's decision; no rollout picks it.

    Raises:
        GateError: the gate has not judged the run, or rejected it; or the catalog was corrected since.
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
    if decision:
        _refuse_unsigned(workspace, run)
    existing = next(iter(tracker.list_versions(run.tags[MODEL], run_id)), None)
    # A task that runs again: what was signed, perhaps with a person's approval by now, stays as it is.
    if existing and decision and is_signed(workspace.settings, existing.name, existing.version, existing.tags):
        return existing.version
    dataset, split = read_split(workspace, run)
    tags = {
        **(describe_decision(decision) if decision else {"gate": PENDING}),
        "dataset_version": run.tags["dataset_version"],
        "holdout_id": run.tags["holdout_id"],
        "git_commit": run.tags["git_commit"],
        "model_type": run.tags["model_type"],
        "estimator": run.tags["estimator"],
        **{name: run.tags[name] for name in (FIT, WORKERS) if name in run.tags},
    }
    example = features.select_inputs(dataset, split.holdout.head(5))
    version = tracker.register(run.tags[MODEL], run_id, tracker.read_candidate(run), example, tags)
    if existing:
        tracker.tag_version(run.tags[MODEL], version, tags)
    if decision:
        sign_version(workspace, run, version, tags)
    return version


def _draw_plots(tracker: Tracker, challenger: Challenger) -> dict[str, Figure]:
    from ml_code.training import plots  # noqa: PLC0415  matplotlib takes seconds to import

    truth, predicted = challenger.truth, challenger.predicted
    if challenger.dataset.task == "regression":
        values = np.asarray(predicted.values, np.float64)
        return {"residuals": plots.draw_residuals(np.asarray(truth, np.float64), values)}
    return _draw_classes(tracker, challenger.run.run_id, truth, predicted, challenger.model.spec.classes)
