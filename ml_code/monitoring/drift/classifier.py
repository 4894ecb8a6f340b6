"""A model that tells a window from the reference: it sees what no single column shows, such as a new correlation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_code.monitoring.drift.columns import Column, Sample, align

LEAST_ROWS = 1_000
"""Rows of each side below which the model would learn noise."""

MOST_ROWS = 5_000
FOLDS = 3
CEILING = 0.60
"""Area under its curve from which the rows differ; 0.5 means that they cannot be told apart."""

SHOWN = 3
MOST_CATEGORIES = 200
"""Rarer categories count as one."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well the model tells both sides apart, and the features that it needs most."""

    area: float
    features: list[str]

    @property
    def is_drifted(self) -> bool:
        """Whether it tells them apart."""
        return self.area >= CEILING


def separate(reference: Sample, window: Sample, random: np.random.Generator) -> Separation | None:
    """Trains on two thirds and judges on the rest, three times; None with too few rows or features.

    D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", 2017, arXiv:1610.06545
    """
    names = [name for name in reference.features if name in window.features]
    pairs = {name: align(reference.features[name], window.features[name]) for name in names}
    pairs = {name: pair for name, pair in pairs.items() if pair[0].kind == pair[1].kind}
    if min(reference.rows, window.rows) < LEAST_ROWS or not pairs:
        return None
    # As many rows of each side, so that half of all guesses is right by chance.
    count = min(reference.rows, window.rows, MOST_ROWS)
    places = [random.permutation(side.rows)[:count] for side in (reference, window)]
    cells = np.column_stack([_list_cells(pair, places) for pair in pairs.values()])
    return _judge(cells, np.repeat([0, 1], count), list(pairs), int(random.integers(1 << 31)))


def _list_cells(pair: tuple[Column, Column], places: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
    cells: npt.NDArray[Any] = np.concatenate([side.cells[drawn] for side, drawn in zip(pair, places, strict=True)])
    if pair[0].kind == "numeric":
        return cells
    # By frequency, the most frequent one first: codes in the order of names mean nothing to a tree.
    counts = np.bincount(cells[cells >= 0], minlength=len(pair[0].names))
    rank = np.empty(len(counts) + 1, dtype=np.float32)
    rank[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(counts)), MOST_CATEGORIES)
    rank[-1] = np.nan
    found: npt.NDArray[np.float32] = rank[cells]
    return found


def _judge(cells: npt.NDArray[np.float32], side: npt.NDArray[np.int64], names: list[str], seed: int) -> Separation:
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  comes with scikit-learn

    # Threads of several processes that wait for each other take minutes for what one thread does in seconds.
    with threadpool_limits(1):
        areas, losses = _judge_folds(cells, side, seed)
    largest = np.argsort(-losses, kind="stable")[:SHOWN]
    return Separation(float(np.mean(areas)), [names[place] for place in largest if losses[place] > 0])


def _judge_folds(
    cells: npt.NDArray[np.float32], side: npt.NDArray[np.int64], seed: int
) -> tuple[list[float], npt.NDArray[np.float64]]:
    """The area under the curve of each fold, and what the folds together lose without each column."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  seconds to import
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415

    random = np.random.default_rng(seed)
    areas: list[float] = []
    losses = np.zeros(cells.shape[1])
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(cells, side):
        model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, early_stopping=False, random_state=seed)
        model.fit(cells[train], side[train])

        def measure(rows: npt.NDArray[np.float32], model: Any = model, truth: Any = side[test]) -> float:
            return float(roc_auc_score(truth, model.predict_proba(rows)[:, 1]))

        areas.append(measure(cells[test]))
        if areas[-1] >= CEILING:
            losses += areas[-1] - np.array([measure(rows) for rows in _shuffle_each(cells[test], random)])
    return areas, losses


def _shuffle_each(cells: npt.NDArray[np.float32], random: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
    """The rows with one column shuffled, column after column: what the model loses was that column's part."""
    for place in range(cells.shape[1]):
        shuffled = cells.copy()
        shuffled[:, place] = random.permutation(shuffled[:, place])
        yield shuffled
