"""Every shipped table with every family: trained on all of its rows, measured, exported, and served.

The full tables come from the folder that TEST_TABLES names (`titanic.csv`, `housing.csv`), or from their sources.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from ml_code import evaluation, features
from ml_code.datasets import Dataset, load_dataset
from ml_code.errors import SourceError
from ml_code.export import export_pipeline
from ml_code.families import FAMILIES, check_hyperparameters, find_family
from ml_code.onnx_model import OnnxModel
from ml_code.pipeline import prepare
from ml_code.settings import Settings
from ml_code.snapshots import read_snapshot
from ml_code.training import fit_pipeline
from serving.rows import RowParser
from serving.served import ServedModel, Version

ROWS = {"iris": 150, "titanic": 891, "housing": 20_640}


@pytest.fixture(scope="module", params=ROWS)
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, features.Split]:
    dataset = load_dataset(request.param)
    settings = Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="trainer",
        mlflow_password=SecretStr("secret"),
        s3_endpoint_url="http://127.0.0.1:1",
        s3_access_key="key",
        s3_secret_key=SecretStr("secret"),
        datasets_uri=str(tmp_path_factory.mktemp("datasets")),
        datasets_dir=Path(os.environ.get("TEST_TABLES", "/nowhere")),
    )
    try:
        uri = prepare(dataset.name, settings=settings)
    except SourceError as error:
        pytest.skip(f"the table is not to be had: {error}")
    frame = read_snapshot(uri, settings)
    if dataset.key:
        assert len(frame) == ROWS[dataset.name]
    return dataset, features.split_holdout(dataset, frame)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_passes_the_gate_of_a_table_and_is_served(table: tuple[Dataset, features.Split], name: str) -> None:
    dataset, split = table
    family = find_family(*FAMILIES[name], dataset.task)
    figures = check_hyperparameters(family, dataset.hyperparameters.get(name))
    pipeline = fit_pipeline(dataset, split.train, family, figures, threads=2)

    # The export compares file and pipeline on the rows that it is given.
    exported = export_pipeline(dataset, pipeline, features.list_classes(dataset, split.train), split.holdout)
    assert exported.agreement_share >= 0.999

    model = OnnxModel(exported.content)
    model.replay_golden()
    answers = evaluation.answer_rows(dataset, model, split.holdout)
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
    predictions: list[float] = json.loads(answer)["predictions"]
    return predictions
