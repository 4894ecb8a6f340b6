from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure

from ml_code.training.plots import draw_calibration, draw_confusions, draw_importances, draw_residuals


def is_picture(figure: Figure) -> bool:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue().startswith(b"\x89PNG")


def test_every_cell_of_the_confusions_is_written() -> None:
    figure = draw_confusions(np.array([[5, 1], [0, 7]]), ["dead", "alive"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["5", "1", "0", "7"]
    assert is_picture(figure)


def test_the_cells_of_many_labels_are_colours_only() -> None:
    figure = draw_confusions(np.eye(31, dtype=np.int64), list(range(31)))
    assert list(figure.axes[0].texts) == []
    assert is_picture(figure)


def test_the_largest_importance_is_on_top() -> None:
    figure = draw_importances({"age": 0.2, "sex": 0.7, "town": 0.1})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["town", "age", "sex"]
    assert is_picture(figure)


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
