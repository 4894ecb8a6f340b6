"""A batch reads, predicts and writes at once, and its answers are those of one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_code.batch.answers import Marks, write_answers
from ml_code.batch.inputs import Rows
from ml_code.errors import DataCheckError, SourceError
from ml_code.model_file.onnx_model import OnnxModel
from tests.unit.serving.onnx_files import make_classifier

MARKS = Marks("iris", "1", "2026-03-01", "flowers.parquet")
SECONDS = 60


def make_batch(first: int, width: float = 1.4) -> Rows:
    names = [feature.name for feature in OnnxModel(make_classifier()).spec.features]
    cells = [pa.array([value, value]) for value in (5.1, 3.5, width, 0.2)]
    return Rows(first, pa.RecordBatch.from_arrays(cells, names), pa.array([first, first + 1]))


def read_rows(count: int, bad: int | None = None) -> Iterator[Rows]:
    for number in range(count):
        yield make_batch(2 * number, 1e300 if number == bad else 1.4 + number)


class Watched(OnnxModel):
    """A model that calls a function before each batch."""

    def __init__(self, watch: Any) -> None:
        super().__init__(make_classifier())
        self._watch = watch

    def run(self, feed: Any) -> Any:
        self._watch()
        return super().run(feed)


def test_threads_change_no_byte_and_no_order(tmp_path: Path) -> None:
    model = OnnxModel(make_classifier())
    for threads in (1, 4):
        assert write_answers(model, read_rows(9), MARKS, tmp_path / f"{threads}.parquet", threads) == 18
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "4.parquet").read_bytes()
    assert pq.read_table(tmp_path / "4.parquet")["input_id"].to_pylist() == list(range(18))


def test_two_batches_are_predicted_at_once(tmp_path: Path) -> None:
    both = Barrier(2)
    model = Watched(lambda: both.wait(SECONDS))  # breaks where only one comes
    assert write_answers(model, read_rows(4), MARKS, tmp_path / "answers.parquet", threads=2) == 8


def test_the_next_batch_is_read_while_one_is_predicted(tmp_path: Path) -> None:
    is_second_read = Event()

    def read() -> Iterator[Rows]:
        yield make_batch(0)
        is_second_read.set()
        yield make_batch(2)

    model = Watched(lambda: is_second_read.wait(SECONDS) or pytest.fail("the second batch was not read"))
    assert write_answers(model, read(), MARKS, tmp_path / "answers.parquet") == 4


@pytest.mark.parametrize("threads", [1, 4])
def test_of_several_faults_the_first_in_the_file_counts(tmp_path: Path, threads: int) -> None:
    def read() -> Iterator[Rows]:
        yield from read_rows(2, bad=1)
        raise SourceError("truncated")

    with pytest.raises(DataCheckError, match="row 2"):
        write_answers(OnnxModel(make_classifier()), read(), MARKS, tmp_path / "answers.parquet", threads)
