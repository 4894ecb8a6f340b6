"""Real files of real models, asked the same rows again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml_code.data.features import list_classes
from ml_code.data.validation import check_rows
from ml_code.datasets import Dataset
from ml_code.errors import DigestError, TrackingError
from ml_code.families import find_family
from ml_code.monitoring.staleness.rows import LabelledRows
from ml_code.monitoring.staleness.scoring import Question, Scored, score_version
from ml_code.monitoring.staleness.served import Served
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from tests.unit.ml_code.passengers import make_dataset, make_rows, make_typed_rows, train_passengers

END = datetime(2026, 11, 20, tzinfo=UTC)


def make_labelled(task: str = "classification", rows: int = 200) -> LabelledRows:
    """The last passengers as the log and the labels have them: canonical texts, None where a cell is missing."""
    frame = make_typed_rows(task).tail(rows).reset_index(drop=True)
    texts = {name: pd.Series([cell or None for cell in frame[name]], dtype=object) for name in ("town", "sex")}
    answered = pd.DataFrame({
        "live_id": [f"{number:032x}-0" for number in range(rows)],
        "time": [0] * rows,
        "unit": pd.Series([None] * rows, dtype=object),
        "sampling": [1.0] * rows,
        "label": frame["outcome"].astype(str).astype(object),
    })  # fmt: skip
    return LabelledRows(answered, frame[["age", "fare"]].assign(**texts))


def train_without(*columns: str) -> bytes:
    """A file that reads fewer columns."""
    numeric = [name for name in ("age", "fare") if name not in columns]
    dataset = make_dataset(numeric=numeric, categorical=[name for name in ("town", "sex") if name not in columns])
    rows = check_rows(dataset, make_rows()).good
    pipeline = fit_pipeline(dataset, rows, find_family("sklearn", "linear", dataset.task), {})
    return export_pipeline(dataset, pipeline, list_classes(dataset, rows), rows).content


def score(
    content: bytes | Exception, rows: LabelledRows, dataset: Dataset | None = None, age: timedelta | None = None
) -> Scored:
    def read(model: str, version: str) -> bytes:
        if isinstance(content, Exception):
            raise content
        return content

    workspace: Any = SimpleNamespace(tracker=SimpleNamespace(read_model_file=read))
    served = Served("2", None if age is None else END - age)
    return score_version(workspace, Question("passengers", dataset or make_dataset(), rows, END), served)


def test_an_older_file_that_knows_less_scores_less_on_the_same_rows() -> None:
    rows = make_labelled()
    champion, older = score(train_passengers(), rows).score, score(train_without("sex"), rows).score
    assert champion is not None
    assert older is not None
    assert champion.score > 0.9 > older.high
    assert champion.low < champion.score < champion.high


def test_a_regression_is_scored_by_its_own_metric() -> None:
    found = score(train_passengers("regression"), make_labelled("regression"), make_dataset("regression"))
    assert found.problem is None
    assert found.score is not None
    assert found.score.score > 0.8


def test_the_age_of_a_version_is_that_of_its_registration() -> None:
    assert score(train_passengers(), make_labelled(), age=timedelta(hours=36)).age_days == 1.5
    assert score(train_passengers(), make_labelled(), age=-timedelta(hours=1)).age_days == 0
    assert score(train_passengers(), make_labelled()).age_days is None


def test_a_version_whose_columns_the_log_lacks_is_named() -> None:
    rows = make_labelled()
    found = score(train_passengers(), LabelledRows(rows.rows, rows.features.drop(columns=["town"])))
    assert found.score is None
    assert "reads town" in str(found.problem)


def test_a_version_that_reads_a_column_as_another_kind_is_named() -> None:
    rows = make_labelled()
    texts = rows.features.assign(age=pd.Series(["old"] * len(rows.rows), dtype=object))
    assert "reads age" in str(score(train_passengers(), LabelledRows(rows.rows, texts)).problem)


def test_a_version_that_predicts_something_else_is_named() -> None:
    assert "a regression of outcome" in str(score(train_passengers("regression"), make_labelled()).problem)
    other = make_dataset(target="survived")
    assert "expected a classification of survived" in str(score(train_passengers(), make_labelled(), other).problem)


@pytest.mark.parametrize("error", [TrackingError("no version 2"), DigestError("another sha256")])
def test_a_version_whose_file_is_gone_or_changed_is_named(error: Exception) -> None:
    assert score(error, make_labelled()).problem == str(error)
    assert "cannot open it" in str(score(b"no model", make_labelled()).problem)


def test_a_metric_that_cannot_be_measured_is_named() -> None:
    rows = make_labelled("regression")
    unreadable = LabelledRows(rows.rows.assign(label="unknown"), rows.features)
    found = score(train_passengers("regression"), unreadable, make_dataset("regression"))
    assert (found.score, "r2: found that it cannot be measured" in str(found.problem)) == (None, True)


def test_rows_of_a_sample_count_by_the_share_that_was_kept() -> None:
    rows = make_labelled()
    is_right = np.array([label == "alive" for label in rows.rows["label"]])
    sampled = LabelledRows(rows.rows.assign(sampling=np.where(is_right, 0.5, 1.0)), rows.features)
    whole, weighted = score(train_without("sex"), rows).score, score(train_without("sex"), sampled).score
    assert whole is not None
    assert weighted is not None
    assert whole.score != weighted.score
