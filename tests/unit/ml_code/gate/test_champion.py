from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pandas as pd
import pytest

from ml_code.datasets import load_dataset
from ml_code.errors import DigestError, ModelFileError
from ml_code.gate.champion import UNKNOWN_HOLDOUT, compare_with_champion
from ml_code.gate.decision import Comparison
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.tracking import RunRecord, Tracker, VersionRecord
from tests.unit.ml_code.passengers import make_typed_rows, train_passengers
from tests.unit.serving.onnx_files import make_classifier

HOLDOUT = pd.DataFrame(
    {
        "sepal_length": [5.1, 6.0, 7.7],
        "sepal_width": [3.5, 2.9, 3.0],
        "petal_length": [1.4, 4.5, 6.1],
        "petal_width": [0.2, 1.5, 2.3],
        "species": [0, 1, 2],
    }
)
RUN = RunRecord("run", "FINISHED", {}, {}, {"model": "iris", "holdout_id": "rule", "dataset_version": "rows"})


class FakeTracker:
    """A registry with one champion, whose file a test may spoil."""

    def __init__(self, content: bytes | Exception, aliases: dict[str, str], **tags: str) -> None:
        self.content = content
        self.aliases = aliases
        self.tags = {"holdout_id": "rule", "dataset_version": "rows"} | tags

    def read_aliases(self, name: str) -> dict[str, str]:
        return self.aliases

    def read_version(self, name: str, version: str) -> VersionRecord:
        return VersionRecord(name, version, "before", self.tags)

    def read_model_file(self, name: str, version: str) -> bytes:
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def compare(content: bytes | Exception, holdout: pd.DataFrame = HOLDOUT, **changes: Any) -> Comparison | None:
    tracker = FakeTracker(content, **({"aliases": {"champion": "3"}} | changes))
    challenger = OnnxModel(make_classifier())
    return compare_with_champion(cast(Tracker, tracker), RUN, load_dataset("iris"), holdout, challenger)


def test_without_a_champion_there_is_nothing_to_compare() -> None:
    assert compare(b"", aliases={}) is None


def test_a_champion_is_measured_on_the_rows_of_the_challenger() -> None:
    found = compare(make_classifier(answer=0))
    assert found
    assert found.champion_score == pytest.approx(1 / 3)
    assert found.difference == pytest.approx(2 / 3)
    assert (found.has_seen_data, found.has_other_schema, found.problem) == (True, False, None)


def test_a_champion_of_other_rows_has_not_seen_these() -> None:
    found = compare(make_classifier(), dataset_version="older")
    assert found
    assert not found.has_seen_data


@pytest.mark.parametrize("error", [DigestError("altered"), ModelFileError("no spec")])
def test_a_champion_whose_file_is_spoilt_does_not_compare_and_blocks_no_successor(error: Exception) -> None:
    found = compare(error)
    assert found
    assert found.champion_score is None
    assert "its file cannot be read" in (found.problem or "")


def test_a_champion_that_held_out_other_rows_does_not_compare() -> None:
    found = compare(make_classifier(), holdout_id="another rule")
    assert found
    assert "held out other rows" in (found.problem or "")


def test_a_champion_that_reads_a_column_which_is_gone_does_not_compare() -> None:
    found = compare(make_classifier(), HOLDOUT.drop(columns="petal_width"))
    assert found
    assert "petal_width" in (found.problem or "")


def test_two_models_of_unknown_rows_do_not_compare() -> None:
    tracker = FakeTracker(make_classifier(), {"champion": "3"}, holdout_id=UNKNOWN_HOLDOUT)
    run = replace(RUN, tags={**RUN.tags, "holdout_id": UNKNOWN_HOLDOUT})
    challenger = OnnxModel(make_classifier())
    found = compare_with_champion(cast(Tracker, tracker), run, load_dataset("iris"), HOLDOUT, challenger)
    assert found
    assert "it held out other rows" in (found.problem or "")


def test_a_challenger_that_reads_other_columns_is_told_apart() -> None:
    """The champion reads passengers; the holdout has the columns of both."""
    rows = make_typed_rows(rows=3)
    found = compare(train_passengers(), pd.concat([HOLDOUT, rows[["age", "fare", "town", "sex"]]], axis="columns"))
    assert found
    assert found.has_other_schema
