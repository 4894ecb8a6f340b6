"""Plots of one model for MLflow, drawn without a display and without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

WRITTEN_LABELS = 30
"""Most labels with a number in each cell: more are not readable, and 200 take 45 s to write."""


def draw_confusions(counts: npt.NDArray[np.int64], labels: Sequence[object]) -> Figure:
    """Counts of rows by true label (down) and predicted label (across)."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues")
    names = [str(label) for label in labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="Holdout rows")
    cells = np.ndenumerate(counts) if len(names) <= WRITTEN_LABELS else ()
    for (row, column), count in cells:
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image)
    return figure


def draw_calibration(
    is_class: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.float32], labels: Sequence[object]
) -> Figure:
    """Share of true cases over predicted probability, in tenths, for each class; the diagonal is perfect.

    Args:
        is_class: whether a row (first axis) is of a class (second axis).
        probabilities: predicted, of the same shape.
        labels: names of the classes.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for number, label in enumerate(labels):
        tenths = np.minimum((probabilities[:, number] * 10).astype(int), 9)
        filled = np.unique(tenths)
        given = [float(probabilities[tenths == tenth, number].mean()) for tenth in filled]
        found = [float(is_class[tenths == tenth, number].mean()) for tenth in filled]
        axes.plot(given, found, marker="o", label=str(label))
    axes.set(xlabel="probability given", ylabel="share that was true", title="Calibration on the holdout")
    axes.legend()
    return figure


def draw_residuals(truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> Figure:
    """Predicted minus true value over the predicted value, in the target's unit."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(found, found - truth, s=8, alpha=0.5)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel="predicted", ylabel="predicted - true", title="Holdout residuals")
    return figure


def draw_importances(shares: Mapping[str, float]) -> Figure:
    """Share of each feature in the model, the largest on top."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1 + 0.3 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in ordered], [share for _, share in ordered])
    axes.set(xlabel="share", title="Feature importance")
    return figure
