"""Plots of one model for MLflow, drawn without a display and without pyplot's global state.

Labels and names are `labels.show_labels(...).shown`, so that every character can be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml_code.training.labels import LONGEST_LABEL, WRITTEN_LABELS, style_text

SHOWN_FEATURES = 30
"""Most features of a plot, the largest ones."""

INCHES_PER_CHARACTER = 0.08


def draw_confusions(counts: npt.NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Counts of rows by true label (down) and predicted label (across); of many labels only their numbers."""
    is_written = len(labels) <= WRITTEN_LABELS
    room = INCHES_PER_CHARACTER * max(map(len, labels)) if is_written else 0
    side = max(4.0, 0.3 * min(len(labels), WRITTEN_LABELS))
    figure = Figure(figsize=(side + 1 + room, side + room), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title="Holdout rows")
    if is_written:
        _name_both_axes(axes, labels)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image)
    return figure


def _name_both_axes(axes: Axes, labels: Sequence[str]) -> None:
    is_narrow = sum(map(len, labels)) > LONGEST_LABEL
    axes.set_xticks(range(len(labels)), labels, rotation=90 if is_narrow else 0, **style_text())
    axes.set_yticks(range(len(labels)), labels, **style_text())


def draw_calibration(
    is_class: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.float32], labels: Sequence[str]
) -> Figure:
    """Share of true cases over predicted probability, in tenths, for each class; the diagonal is perfect.

    Args:
        is_class: whether a row (first axis) is of a class (second axis).
        probabilities: predicted, of the same shape.
        labels: names of the classes; of many classes no legend is drawn.
    """
    is_written = len(labels) <= WRITTEN_LABELS
    room = INCHES_PER_CHARACTER * max(map(len, labels)) if is_written else 0
    figure = Figure(figsize=(5 + room, max(4.0, 0.2 * len(labels) if is_written else 0)), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    lines = [
        axes.plot(*_bin_tenths(is_class[:, number], probabilities[:, number]), marker="o")[0]
        for number in range(len(labels))
    ]
    axes.set(xlabel="probability given", ylabel="share that was true", title="Calibration on the holdout")
    if is_written:
        # matplotlib leaves out a label that begins with `_`, so the texts come after the legend.
        legend = axes.legend(
            lines, [str(number) for number in range(len(lines))], loc="upper left", bbox_to_anchor=(1, 1)
        )
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set(text=label, **style_text())
    return figure


def _bin_tenths(
    is_class: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.float32]
) -> tuple[list[float], list[float]]:
    """Mean probability and share of true cases of each tenth that has rows."""
    tenths = np.minimum((probabilities * 10).astype(int), 9)
    filled = np.unique(tenths)
    given = [float(probabilities[tenths == tenth].mean()) for tenth in filled]
    return given, [float(is_class[tenths == tenth].mean()) for tenth in filled]


def draw_residuals(truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> Figure:
    """Predicted minus true value over the predicted value, in the target's unit."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(found, found - truth, s=8, alpha=0.5)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xlabel="predicted", ylabel="predicted - true", title="Holdout residuals")
    return figure


def draw_importances(shares: Sequence[float], names: Sequence[str]) -> Figure:
    """Share of each feature in the model, the largest on top; of many features only the largest ones."""
    largest = np.argsort(shares, kind="stable")[-SHOWN_FEATURES:].tolist()
    labels = [names[number] for number in largest]
    width = 4 + INCHES_PER_CHARACTER * max(map(len, labels))
    figure = Figure(figsize=(width, 1 + 0.3 * len(labels)), layout="constrained")
    axes = figure.subplots()
    # By place and not by name: two shortened names may be equal.
    axes.barh(range(len(labels)), [shares[number] for number in largest])
    axes.set_yticks(range(len(labels)), labels, **style_text())
    is_whole = len(largest) == len(shares)
    title = "Feature importance" if is_whole else f"Feature importance: the largest {len(largest)} of {len(shares)}"
    axes.set(xlabel="share", title=title)
    return figure
