"""The choice among models of several mixes, by held-out rows of the newest windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.live_rows import LIVE_ID, find_live, find_newest
from ml_code.dataset_rules import LOWER_IS_BETTER
from ml_code.datasets import Dataset
from ml_code.errors import GateError
from ml_code.gate import evaluation
from ml_code.gate.challenger import Challenger
from ml_code.gate.decision import ROUNDING
from ml_code.gate.evaluation import Clusters
from ml_code.gate.evidence import LEAST_ROWS
from ml_code.model_file.onnx_model import Prediction
from ml_code.training.mixes import MIXES
from ml_code.training.plans import MixName

type Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sides:
    """The parts of a holdout that judge: live rows of the newest windows, rows of files, and confirmed live rows.

    Confirmed ones are older live rows that count since an earlier retraining. Other live rows before the newest windows
    judge nothing: labels that are turned round for longer than the windows would speak for themselves.
    """

    is_newest: Mask
    is_old: Mask
    is_confirmed: Mask


def divide_holdout(holdout: pd.DataFrame, since_ms: float, confirmed: Collection[str] = ()) -> Sides:
    """Divides held-out rows at the time from which the world has been another.

    Args:
        holdout: held-out rows of files and of the log.
        since_ms: that time.
        confirmed: ids of the live rows that count for every training.

    Raises:
        GateError: too few of the newest rows are held out.
    """
    is_newest, is_live = find_newest(holdout, since_ms), find_live(holdout)
    is_known = holdout[LIVE_ID].isin(confirmed).to_numpy(dtype=bool) if is_live.any() else is_live
    sides = Sides(is_newest, ~is_live, is_known & ~is_newest)
    if (count := int(sides.is_newest.sum())) < LEAST_ROWS:
        raise GateError(
            f"holdout: found {count} rows of the newest windows, expected at least {LEAST_ROWS}; "
            "wait for more labels: a third of them is held out"
        )
    return sides


def choose_mix(
    dataset: Dataset, truth: pd.Series, predicted: Mapping[MixName, Prediction], clusters: Clusters | None
) -> MixName:
    """Chooses the mildest mix that is not worse than the best one by more than 1 SE on these rows.

    A model of new rows only forgets the old ones, so it must be clearly better (the one-standard-error rule of
    L. Breiman et al., "Classification and regression trees", 1984).

    Args:
        dataset: with the gate's metric.
        truth: true values of the newest held-out rows.
        predicted: predictions of the same rows, by mix.
        clusters: numbers of their groups; None if the dataset has none.
    """
    metric = dataset.gate.metric
    sign = -1 if metric in LOWER_IS_BETTER else 1
    scores = {name: sign * evaluation.measure(dataset, truth, found)[metric] for name, found in predicted.items()}
    best = max(scores, key=lambda name: scores[name])
    for name in _sort_mildest(scores):
        if name == best:
            break
        lead = evaluation.compare(dataset, truth, predicted[best], predicted[name], metric, clusters=clusters)
        if lead.value <= lead.standard_error + ROUNDING:
            return name
    return best


def narrow_challenger(challenger: Challenger, is_wanted: Mask) -> Challenger:
    """The challenger on some rows of its holdout."""
    return replace(
        challenger,
        holdout=challenger.holdout[is_wanted].reset_index(drop=True),
        predicted=narrow_prediction(challenger.predicted, is_wanted),
    )


def narrow_prediction(predicted: Prediction, is_wanted: Mask) -> Prediction:
    """The predictions of some rows."""
    values = [predicted.values[place] for place in np.flatnonzero(is_wanted)]
    chances = None if predicted.probabilities is None else predicted.probabilities[is_wanted]
    return Prediction(values, chances, predicted.classes)  # type: ignore[arg-type]


def _sort_mildest(names: Mapping[MixName, float]) -> Sequence[MixName]:
    return [name for name in MIXES if name in names]
