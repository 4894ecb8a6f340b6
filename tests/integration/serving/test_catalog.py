"""Every shipped table with every family: trained on all of its rows, measured, exported, and served."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pandas as pd
import pytest

from ml_code.data import holdout
from ml_code.datasets import Dataset
from ml_code.errors import SourceError
from ml_code.families import FAMILIES
from ml_code.gate import evaluation
from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from tests.full_tables import read_table, train_family

TABLE_ROWS = {"iris": 150, "titanic": 891, "housing": 20_640}


EVERY_TIME = {("iris", name) for name in FAMILIES} | {("titanic", "lightgbm"), ("housing", "linear")}
"""Every family, every kind of column and both tasks; the other pairs take minutes."""

PAIRS = [
    pytest.param(table, name, marks=() if (table, name) in EVERY_TIME else pytest.mark.long)
    for table in TABLE_ROWS
    for name in FAMILIES
]


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, holdout.Split]:
    try:
        dataset, split = read_table(request.param, tmp_path_factory.mktemp("datasets"))
    except SourceError as error:
        pytest.skip(f"the table is not available: {error}")
    assert len(split.train) + len(split.holdout) == TABLE_ROWS[dataset.name]
    return dataset, split


@pytest.mark.parametrize(("table", "name"), PAIRS, indirect=["table"])
def test_a_family_passes_the_gate_of_a_table_and_is_served(table: tuple[Dataset, holdout.Split], name: str) -> None:
    dataset, split = table
    exported = train_family(dataset, split, name)
    assert exported.agreement_share >= 0.999

    model = OnnxModel(exported.content)
    model.replay_golden()
    answers = evaluation.predict_rows(dataset, model, split.holdout)
    score = evaluation.measure(dataset, split.holdout[dataset.target], answers)[dataset.gate.metric]
    assert score >= dataset.gate.threshold

    expected = answers.values[:50]
    served = serve(dataset, exported.content, split.holdout.head(50))
    assert served == (pytest.approx(expected) if dataset.task == "regression" else expected)


def serve(dataset: Dataset, content: bytes, rows: pd.DataFrame) -> list[float]:
    """What the service answers to rows as JSON, a gap as null."""
    model = OnnxModel(content)
    identity = Version(dataset.name, "1", hashlib.sha256(content).hexdigest())
    served = ServedModel(identity, "champion", "2026-11-20T00:00:00+00:00", model, RowParser(model.spec))
    body = rows[dataset.features].to_json(orient="records").encode()
    answer = asyncio.run(served.answer(body, b"test", with_probabilities=False))
    predictions: list[float] = json.loads(answer.body)["predictions"]
    return predictions
