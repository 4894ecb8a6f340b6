"""Batches of columns and classes that are called like the columns of the answers, or like a path into Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ml_code.batch.answers import Marks, write_answers
from ml_code.batch.inputs import read_batches
from ml_code.data.features import list_classes
from ml_code.data.validation import check_rows
from ml_code.families import find_family
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.storage import Storage
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows

PLAIN = ["age", "fare", "town", "sex"]
MARKS = Marks("passengers", "1", "now", "rows")
FIRST = ["input_id", "prediction"]
LAST = ["model", "version", "predicted_at", "input_file"]


@pytest.fixture
def storage(workspace: Workspace) -> Storage:
    return workspace.storage


def train(names: list[str], labels: tuple[str, str]) -> tuple[OnnxModel, pd.DataFrame]:
    dataset = make_dataset(numeric=names[:2], categorical=names[2:])
    given = make_typed_rows(rows=100).replace({"outcome": dict(zip(("alive", "dead"), labels, strict=True))})
    rows = check_rows(dataset, given.rename(columns=dict(zip(PLAIN, names, strict=True)))).good
    pipeline = fit_pipeline(dataset, rows, find_family("sklearn", "linear", "classification"), {})
    content = export_pipeline(dataset, pipeline, list_classes(dataset, rows), rows).content
    return OnnxModel(content), rows[names]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    "names",
    [
        ["input_id", "prediction", "model", "version"],
        ["a", "a.b", "a.b.c", "b"],
        ["distance (km)", "나이", "label", '"quoted", 🙂'],
    ],
    ids=["like answers", "dotted", "as people write"],
)
def test_columns_of_any_name_are_answered(tmp_path: Path, storage: Storage, names: list[str], ending: str) -> None:
    model, rows = train(names, ("alive", "dead"))
    source = tmp_path / f"rows.{ending}"
    if ending == "csv":
        rows.to_csv(source, index=False)
    else:
        rows.to_parquet(source, index=False)
    batches = read_batches(storage, str(source), model.spec.features)
    assert write_answers(model, batches, MARKS, tmp_path / f"answers.{ending}") == len(rows)
    answers = (
        pd.read_csv(tmp_path / "answers.csv") if ending == "csv" else pd.read_parquet(tmp_path / "answers.parquet")
    )
    assert list(answers) == [*FIRST, "probability_alive", "probability_dead", *LAST]
    assert answers["input_id"].tolist() == list(range(len(rows)))
    expected = model.predict_columns({name: rows[name].tolist() for name in names})
    assert answers["prediction"].tolist() == expected.values


@pytest.mark.parametrize("key", ["input_id", "row"])
def test_a_key_of_any_name_identifies_the_rows(tmp_path: Path, storage: Storage, key: str) -> None:
    model, rows = train(["input_id", "fare", "town", "sex"], ("alive", "dead"))
    rows = rows.assign(row=[f"r{number}" for number in range(len(rows))])
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    batches = read_batches(storage, str(tmp_path / "rows.parquet"), model.spec.features, key)
    write_answers(model, batches, MARKS, tmp_path / "answers.parquet")
    found = pd.read_parquet(tmp_path / "answers.parquet")["input_id"]
    pd.testing.assert_series_equal(found, rows[key], check_names=False, check_dtype=False)


@pytest.mark.parametrize("labels", [("model", "prediction"), ('say "yes", or', "no\nway"), ("찬성", "1 ")], ids=ascii)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_class_of_any_name_has_its_own_column(
    tmp_path: Path, storage: Storage, labels: tuple[str, str], ending: str
) -> None:
    model, rows = train(PLAIN, labels)
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    batches = read_batches(storage, str(tmp_path / "rows.parquet"), model.spec.features)
    write_answers(model, batches, MARKS, tmp_path / f"answers.{ending}")
    answers = (
        pd.read_csv(tmp_path / "answers.csv") if ending == "csv" else pd.read_parquet(tmp_path / "answers.parquet")
    )
    assert list(answers) == [*FIRST, *(f"probability_{label}" for label in model.spec.classes or []), *LAST]
    assert set(answers["prediction"]) == set(model.spec.classes or [])
