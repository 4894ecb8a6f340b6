"""Compares a challenger with the champion on the same rows, or gives the reason why they do not compare."""

from __future__ import annotations

import pandas as pd

from ml_code.datasets import Dataset
from ml_code.errors import DigestError, ModelFileError
from ml_code.gate import evaluation
from ml_code.gate.decision import Comparison
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import ModelSpec
from ml_code.tracking import MODEL, RunRecord, Tracker

UNKNOWN_HOLDOUT = "unknown"
"""Holdout id of a model that was trained elsewhere: its training rows are unknown, so it does not compare."""


def compare_with_champion(
    tracker: Tracker, run: RunRecord, dataset: Dataset, holdout: pd.DataFrame, challenger: OnnxModel
) -> Comparison | None:
    """Compares a run with the champion; None if there is no champion.

    Args:
        tracker: reads the champion.
        run: run of the challenger.
        dataset: dataset of both.
        holdout: rows that neither has trained on, if both used the same rule.
        challenger: exported file of the run.

    Raises:
        TrackingError: MLflow refuses.
    """
    version = tracker.read_aliases(run.tags[MODEL]).get("champion")
    if version is None:
        return None
    tags = tracker.read_version(run.tags[MODEL], version).tags
    holdout_ids = {tags.get("holdout_id"), run.tags["holdout_id"]}
    if len(holdout_ids) > 1 or UNKNOWN_HOLDOUT in holdout_ids:
        return Comparison(version, problem="it held out other rows, so it may have trained on these")
    try:
        champion = OnnxModel(tracker.read_model_file(run.tags[MODEL], version))
    except (ModelFileError, DigestError) as error:
        return Comparison(version, problem=f"its file cannot be read ({error})")
    lacking = sorted({feature.name for feature in champion.spec.features} - set(holdout.columns))
    if lacking:
        return Comparison(version, problem=f"it reads {', '.join(lacking)}, which the rows no longer have")
    truth, metric = holdout[dataset.target], dataset.gate.metric
    of_champion = evaluation.predict_rows(dataset, champion, holdout)
    of_challenger = evaluation.predict_rows(dataset, challenger, holdout)
    difference = evaluation.compare(dataset, truth, of_challenger, of_champion, metric)
    return Comparison(
        version,
        champion_score=evaluation.measure(dataset, truth, of_champion)[metric],
        difference=difference.value,
        standard_error=difference.standard_error,
        has_seen_data=tags.get("dataset_version") == run.tags["dataset_version"],
        has_other_schema=_schema(champion.spec) != _schema(challenger.spec),
    )


def _schema(spec: ModelSpec) -> set[tuple[str, str]]:
    return {(feature.name, feature.kind) for feature in spec.features}
