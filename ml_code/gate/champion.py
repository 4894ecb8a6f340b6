"""Compares a challenger with the champion on the same rows, or gives the reason why they do not compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ml_code.dataset_rules import ColumnCheck
from ml_code.errors import DataCheckError, DigestError, GateError, ModelFileError
from ml_code.gate.baselines import measure_rival
from ml_code.gate.challenger import UNKNOWN_HOLDOUT, Challenger, find_misfit
from ml_code.gate.decision import Decision
from ml_code.gate.evaluation import predict_rows
from ml_code.gate.evidence import QUOTED, Comparison, Rival, show_names
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import ModelSpec
from ml_code.signature import is_forged
from ml_code.tracking import MODEL, Tracker
from ml_code.verdicts import list_barred
from ml_code.workspace import Workspace

DECISION = "gate.decision"
"""Tag of a run and of a version: the gate's decision as JSON."""


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A version that serves or served: its description, and its measurement on the challenger's rows."""

    spec: ModelSpec
    rival: Rival


def compare_with_champion(workspace: Workspace, challenger: Challenger) -> Comparison | None:
    """Compares a challenger with the champion, and with the best champion before it; None if there is no champion.

    Raises:
        TrackingError: MLflow refuses.
        WarehouseError: the warehouse cannot be reached, which says what was taken back.
    """
    tracker, model = workspace.tracker, challenger.run.tags[MODEL]
    version = tracker.read_aliases(model).get("champion")
    if version is None:
        return None
    tags = tracker.read_version(model, version).tags
    if is_forged(workspace.settings, model, version, tags):
        return Comparison(version, problem="its tags are not those that the gate signed")
    champion = _open_earlier(tracker, challenger, version, tags)
    if isinstance(champion, str):
        return Comparison(version, problem=champion)
    classes = _find_class_change(champion.spec, challenger.model.spec)
    if classes and _is_corrected(challenger, champion.spec):
        return Comparison(version, problem=classes)
    best_version = _read_best(tags)
    best = _measure_best(workspace, challenger, best_version) if best_version not in {None, version} else None
    is_better = best is not None and best.difference < champion.rival.difference
    return Comparison(
        version,
        champion_score=champion.rival.score,
        difference=champion.rival.difference,
        standard_error=champion.rival.standard_error,
        has_seen_data=tags.get("dataset_version") == challenger.run.tags["dataset_version"],
        schema_change=_find_column_change(champion.spec, challenger.model.spec, version) or classes,
        best_version=best_version if is_better else None,
        best=best if is_better else None,
    )


def _open_earlier(tracker: Tracker, challenger: Challenger, version: str, tags: Mapping[str, str]) -> _Earlier | str:
    """Measures a version on the challenger's holdout, or returns the reason why it does not compare."""
    holdout_ids = {tags.get("holdout_id"), challenger.run.tags["holdout_id"]}
    if len(holdout_ids) > 1 or UNKNOWN_HOLDOUT in holdout_ids:
        return "it held out other rows, so it may have trained on these"
    dataset, holdout = challenger.dataset, challenger.holdout
    try:
        model = OnnxModel(tracker.read_model_file(challenger.run.tags[MODEL], version))
    except (ModelFileError, DigestError) as error:
        return f"its file cannot be read ({str(error)[:QUOTED]})"
    if misfit := find_misfit(dataset, model.spec, holdout):
        return misfit
    try:
        return _Earlier(model.spec, measure_rival(challenger, predict_rows(dataset, model, holdout)))
    except (DataCheckError, GateError, ModelFileError) as error:
        return f"it cannot be measured ({str(error)[:QUOTED]})"


def _read_best(tags: Mapping[str, str]) -> str | None:
    """The best champion before a version, by the decision on that version."""
    try:
        return Decision.from_json(tags[DECISION]).best_version
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _measure_best(workspace: Workspace, challenger: Challenger, version: str) -> Rival | None:
    """Measures an earlier champion again; None if it is gone, was rolled back, or has another schema."""
    tracker, model = workspace.tracker, challenger.run.tags[MODEL]
    tags = next((made.tags for made in tracker.list_versions(model) if made.version == version), None)
    if tags is None or is_forged(workspace.settings, model, version, tags):
        return None
    if version in list_barred(workspace.warehouse, model):
        return None
    found = _open_earlier(tracker, challenger, version, tags)
    if isinstance(found, str) or _find_class_change(found.spec, challenger.model.spec):
        return None
    return found.rival


def _find_column_change(champion: ModelSpec, challenger: ModelSpec, version: str) -> str | None:
    before, after = ({(feature.name, feature.kind) for feature in spec.features} for spec in (champion, challenger))
    if before == after:
        return None
    parts = [
        f"{word} {show_names(sorted(name for name, _ in names))}"
        for word, names in (("with", after - before), ("without", before - after))
        if names
    ]
    return f"it reads other columns than the champion, version {version}: {', '.join(parts)}"


def _find_class_change(champion: ModelSpec, challenger: ModelSpec) -> str | None:
    """How the kinds or the set of the classes differ; None if they do not. 0 and "0" are two classes."""
    if challenger.task == "regression":
        return None
    before, after = (sorted(map(_quote, spec.classes or [])) for spec in (champion, challenger))
    if not before or not after:  # a file that answers labels itself: its golden rows show their kind
        before, after = (
            sorted({type(label).__name__ for label in spec.golden.predictions}) for spec in (champion, challenger)
        )
    if before == after:
        return None
    shown = [show_names(labels) for labels in (after, before)]
    return f"its classes are {shown[0]}; the champion's are {shown[1]}"


def _is_corrected(challenger: Challenger, champion: ModelSpec) -> bool:
    """Whether the catalog lists other classes than the champion's, and the challenger lacks none that both have."""
    dataset = challenger.dataset
    listed = dataset.checks.columns.get(dataset.target, ColumnCheck()).allowed
    declared, ours, theirs = (
        {str(label) for label in labels or []} for labels in (listed, challenger.model.spec.classes, champion.classes)
    )
    return bool(declared) and ours <= declared and theirs != declared and theirs & declared <= ours


def _quote(label: int | str) -> str:
    return json.dumps(label, ensure_ascii=False)
