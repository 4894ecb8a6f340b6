"""Measures the champion beside a challenger on the same rows, or says why the two do not compare."""

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
"""Of a model that was trained elsewhere: nobody knows on which rows, so it compares with none."""


def compare_with_champion(
    tracker: Tracker, run: RunRecord, dataset: Dataset, holdout: pd.DataFrame, challenger: OnnxModel
) -> Comparison | None:
    """The comparison; None where there is no champion yet.

    Args:
        tracker: where the champion is registered.
        run: the challenger's.
        dataset: of both.
        holdout: rows that neither has trained on, if both held out by the same rule.
        challenger: its exported file.

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
        return Comparison(version, problem=f"it reads {', '.join(lacking)}, which the rows do not have any more")
    truth, metric = holdout[dataset.target], dataset.gate.metric
    of_champion = evaluation.answer_rows(dataset, champion, holdout)
    of_challenger = evaluation.answer_rows(dataset, challenger, holdout)
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
