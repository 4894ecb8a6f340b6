from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ml_code.training.labels import show_labels
from ml_code.training.plots import draw_calibration, draw_confusions, draw_importances, draw_residuals

ODD = ["$", "$$", "$x^2$", "_under_", "\\alpha", "\\frac{", "<b>", "%", "#0", "", "two\nlines", "찬성", "🙂", "n" * 200]
"""Labels that matplotlib takes for a formula, leaves out of a legend, or has no character for."""


def is_picture(figure: Figure) -> bool:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue().startswith(b"\x89PNG")


def list_texts(texts: Iterable[Text]) -> list[str]:
    return [text.get_text() for text in texts]


def test_every_cell_of_the_confusions_is_written() -> None:
    figure = draw_confusions(np.array([[5, 1], [0, 7]]), ["dead", "alive"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["5", "1", "0", "7"]
    assert is_picture(figure)


def test_the_cells_of_many_labels_are_colours_only() -> None:
    figure = draw_confusions(np.eye(31, dtype=np.int64), [str(number) for number in range(31)])
    assert list(figure.axes[0].texts) == []
    assert is_picture(figure)


def test_the_largest_importance_is_on_top() -> None:
    figure = draw_importances([0.2, 0.7, 0.1], ["age", "sex", "town"])
    assert list_texts(figure.axes[0].get_yticklabels()) == ["town", "age", "sex"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.1, 0.2, 0.7]
    assert is_picture(figure)


def test_of_many_features_the_thirty_largest_are_drawn() -> None:
    shares = [number / 2_642_850 for number in range(2300)]
    figure = draw_importances(shares, [f"gene {number}" for number in range(2300)])
    assert list_texts(figure.axes[0].get_yticklabels()) == [f"gene {number}" for number in range(2270, 2300)]
    assert max(figure.get_size_inches()) < 12
    assert is_picture(figure)


def test_two_features_of_one_shortened_name_have_two_bars() -> None:
    figure = draw_importances([0.4, 0.6], ["a…b", "a…b"])
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.4, 0.6]


@pytest.mark.parametrize("label", ODD, ids=ascii)
def test_a_label_is_text_in_every_plot(label: str) -> None:
    """Warnings are errors here, so a missing character and a layout without room would be seen."""
    shown = show_labels([label, "other"]).shown
    half = np.full((4, 2), 0.5, np.float32)
    confusions = draw_confusions(np.eye(2, dtype=np.int64), shown)
    calibration = draw_calibration(np.array([[True, False]] * 4), half, shown)
    importances = draw_importances([0.7, 0.3], shown)
    assert list_texts(confusions.axes[0].get_xticklabels()) == list_texts(confusions.axes[0].get_yticklabels()) == shown
    assert list_texts(calibration.axes[0].get_legend().get_texts()) == shown
    assert list_texts(importances.axes[0].get_yticklabels()) == shown[::-1]
    assert all(is_picture(figure) for figure in (confusions, calibration, importances))


@pytest.mark.parametrize("count", [2, 30, 31])
def test_many_long_labels_have_room(count: int) -> None:
    shown = show_labels("W" * 100 + str(number) for number in range(count)).shown
    assert is_picture(draw_confusions(np.eye(count, dtype=np.int64), shown))
    shares = np.full((count, count), 1 / count, np.float32)
    assert is_picture(draw_calibration(np.eye(count, dtype=np.bool_), shares, shown))
    assert is_picture(draw_importances([1 / count] * count, shown))


def test_residuals_are_predicted_minus_true() -> None:
    figure = draw_residuals(np.array([1.0, 2.0]), np.array([1.5, 1.0]))
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[1.5, 0.5], [1.0, -1.0]]
    assert is_picture(figure)


def test_a_calibrated_model_lies_on_the_diagonal() -> None:
    is_first = np.array([True] * 3 + [False] * 9)
    probabilities = np.full((12, 2), (0.25, 0.75), np.float32)
    figure = draw_calibration(np.column_stack([is_first, ~is_first]), probabilities, ["dead", "alive"])
    _, first, second = figure.axes[0].lines
    assert [line.get_xydata().tolist() for line in (first, second)] == [[[0.25, 0.25]], [[0.75, 0.75]]]
    assert is_picture(figure)
