"""Many rows are computed in chunks that follow from what the file takes for one row."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from ml_code.model_file import chunks
from ml_code.model_file.onnx_model import OnnxModel
from tests.unit.serving.onnx_files import make_classifier, make_wide_regressor

WIDE = make_wide_regressor(100)


def test_a_row_of_many_categories_is_measured_by_all_steps() -> None:
    encoded = reshaped = 5_000 * 4
    row_bytes = chunks.CHUNK_BYTES / OnnxModel(make_wide_regressor()).chunk_rows
    assert row_bytes == pytest.approx(encoded + reshaped, rel=0.01)


def test_few_columns_are_computed_at_once() -> None:
    assert OnnxModel(make_classifier()).chunk_rows > 100_000


def test_chunks_answer_as_all_rows_at_once_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Any]] = [[f"c{number:05d}"] for number in (7, 3, 99, 0, 42)]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * 100 * 4 * 2)
    model = OnnxModel(WIDE)
    assert model.chunk_rows < len(rows)
    assert model.predict_rows(rows).values == [7, 3, 99, 0, 42]


def test_probabilities_of_chunks_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Any]] = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3]]
    together = OnnxModel(make_classifier()).predict_rows(rows)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    one_by_one = OnnxModel(make_classifier()).predict_rows(rows)
    assert one_by_one.values == together.values == [0, 1, 2]
    assert together.probabilities is not None
    assert one_by_one.probabilities == pytest.approx(together.probabilities)


def test_without_a_place_to_measure_each_category_counts_as_a_column(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    row_bytes = chunks.CHUNK_BYTES / OnnxModel(WIDE).chunk_rows
    assert row_bytes == pytest.approx(100 * chunks.CELL_BYTES * chunks.STEPS, rel=0.01)


def test_a_profile_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "LARGEST_PROFILE_BYTES", 10)
    row_bytes = chunks.CHUNK_BYTES / OnnxModel(WIDE).chunk_rows
    assert row_bytes == pytest.approx(100 * chunks.CELL_BYTES * chunks.STEPS, rel=0.01)


def test_a_measurement_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    OnnxModel(WIDE)
    assert not list(tmp_path.iterdir())
