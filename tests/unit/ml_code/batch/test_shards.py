"""Batches of predictions over local folders: what is written, what is refused, and what a killed shard leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_code.batch.shards import Part, Shard, finish_batch, plan_batch, predict_shards
from ml_code.data import features
from ml_code.data.snapshots import prepare
from ml_code.datasets import load_dataset
from ml_code.errors import CatalogError, DataCheckError, SourceError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import REPOSITORY, Settings
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import PASSENGERS, make_rows, make_typed_rows, train_passengers

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def model_file() -> bytes:
    return train_passengers()


@pytest.fixture
def workspace(tmp_path: Path, settings: Settings, model_file: bytes, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A catalog with its champion, version 7, as a copy among the predictions."""
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    make_rows().to_csv(tmp_path / "passengers.csv", index=False)
    settings = settings.model_copy(update={"predictions_uri": str(tmp_path / "predictions")})
    uri = tmp_path / "predictions" / "passengers" / "files" / "ab12.onnx"
    uri.parent.mkdir(parents=True)
    uri.write_bytes(model_file)
    monkeypatch.setattr("ml_code.batch.shards._copy_champion", lambda *_: ("7", str(uri)))
    return open_workspace(settings)


def run(workspace: Workspace, source: str, batch_id: str = "once") -> pd.DataFrame:
    shards = plan_batch(workspace, "passengers", batch_id, NOW, source)
    parts = predict_shards(workspace, shards)
    finish_batch(workspace, shards, parts)
    return pd.concat([read_part(part) for part in parts], ignore_index=True)


def read_part(part: Part) -> pd.DataFrame:
    if part.uri.endswith(".csv"):
        return pd.read_csv(part.uri, keep_default_na=False)
    return pq.read_table(part.uri).to_pandas()


def write_parquet(path: Path, rows: pd.DataFrame, row_group_size: int = 1000) -> str:
    rows.to_parquet(path, index=False, row_group_size=row_group_size)
    return str(path)


def test_a_small_file_is_answered_as_csv_with_everything_beside_each_row(
    tmp_path: Path, workspace: Workspace, model_file: bytes
) -> None:
    rows = make_rows(rows=40)
    rows.drop(columns="outcome").to_csv(tmp_path / "new.csv", index=False)
    answers = run(workspace, str(tmp_path / "new.csv"))
    model = OnnxModel(model_file)
    inputs = features.select_inputs(load_dataset("passengers", tmp_path), rows)
    expected = model.predict_columns({name: inputs[name].tolist() for name in inputs.columns})
    assert answers["prediction"].tolist() == expected.values
    assert answers["input_id"].tolist() == list(range(40))
    found = answers[[f"probability_{label}" for label in model.spec.classes or []]].to_numpy()
    np.testing.assert_allclose(found, expected.probabilities, rtol=1e-6)
    assert set(answers["model"]) == {"passengers"}
    assert set(answers["version"]) == {7}
    assert set(answers["predicted_at"]) == {NOW.isoformat()}
    assert set(answers["input_file"]) == {str(tmp_path / "new.csv")}


def test_csv_and_parquet_and_another_order_of_columns_give_the_same_answers(
    tmp_path: Path, workspace: Workspace
) -> None:
    rows = make_typed_rows(rows=300)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    turned = rows[[*reversed(rows.columns)]].assign(further=1)
    a = run(workspace, str(tmp_path / "rows.csv"), "a")
    b = run(workspace, write_parquet(tmp_path / "rows.parquet", turned), "b")
    pd.testing.assert_frame_equal(a.drop(columns="input_file"), b.drop(columns="input_file"))


def test_a_large_file_is_cut_into_shards_at_row_groups(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_code.batch.shards.SHARD_ROWS", 2000)
    monkeypatch.setattr("ml_code.batch.shards.SMALL_BYTES", 100)
    source = write_parquet(tmp_path / "large.parquet", make_typed_rows(rows=5500))
    shards = plan_batch(workspace, "passengers", "large", NOW, source)
    assert [list(shard.row_groups or []) for shard in shards] == [[0, 1], [2, 3], [4, 5]]
    answers = run(workspace, source, "large")
    assert answers["input_id"].tolist() == list(range(5500))
    manifest = json.loads((Path(shards[0].folder) / "manifest.json").read_text())
    assert (manifest["rows"], manifest["version"], len(manifest["parts"])) == (5500, "7", 3)


def test_every_file_under_a_prefix_is_answered(tmp_path: Path, workspace: Workspace) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    make_rows(rows=5).to_csv(folder / "a.csv", index=False)
    make_rows(rows=6).to_csv(folder / "b.csv.gz", index=False)
    write_parquet(folder / "c.parquet", make_typed_rows(rows=7))
    (folder / "readme.md").write_text("no rows")
    answers = run(workspace, f"{folder}/")
    assert answers["input_file"].str[-5:].value_counts().to_dict() == {"a.csv": 5, "sv.gz": 6, "rquet": 7}


def test_without_a_source_five_rows_are_drawn_by_the_batch(tmp_path: Path, workspace: Workspace) -> None:
    prepare(workspace, "passengers")
    answers = run(workspace, "", "run of nine")
    assert len(answers) == 5
    assert run(workspace, "", "run of nine").equals(answers)
    assert run(workspace, "", "run of ten")["input_id"].tolist() != answers["input_id"].tolist()


def test_the_key_of_the_dataset_is_the_id(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "passengers.toml").write_text(PASSENGERS.replace("source =", 'key = "ticket"\nsource ='))
    make_rows(rows=3).assign(ticket=["x1", "x2", "x3"]).to_csv(tmp_path / "keyed.csv", index=False)
    assert run(workspace, str(tmp_path / "keyed.csv"))["input_id"].tolist() == ["x1", "x2", "x3"]


def test_a_file_without_rows_gets_a_part_without_rows(tmp_path: Path, workspace: Workspace) -> None:
    answers = run(workspace, write_parquet(tmp_path / "none.parquet", make_typed_rows(rows=3).head(0)))
    assert len(answers) == 0
    assert "prediction" in answers.columns


def test_a_plan_stays_as_it_was_though_the_champion_changes(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rows(rows=3).to_csv(tmp_path / "new.csv", index=False)
    first = plan_batch(workspace, "passengers", "one", NOW, str(tmp_path / "new.csv"))
    monkeypatch.setattr("ml_code.batch.shards._copy_champion", lambda *_: ("8", "elsewhere"))
    assert plan_batch(workspace, "passengers", "one", NOW, str(tmp_path / "new.csv")) == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lacking.csv", "age,fare,town\n1,2,A\n", "found no column sex among age, fare, town"),
        ("text.csv", "age,fare,town,sex\n1,2,A,f\nold,2,A,f\n", "line 3, column age: found a text of 3 char"),
        ("huge.csv", "age,fare,town,sex\n1,2,A,f\n1e39,2,A,f\n", "column age, row 1: found a larger number"),
        ("short.csv", "age,fare,town,sex\n1,2,A\n", "line 2: found"),
    ],
)
def test_a_row_that_does_not_fit_refuses_the_file(
    tmp_path: Path, workspace: Workspace, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataCheckError, match=message):
        run(workspace, str(tmp_path / name))
    assert not list(Path(workspace.settings.predictions_uri).rglob("part-*"))


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("age", ["1", "2"], "column age: found (large_)?string, expected numbers"),
        ("town", [["a"], ["b"]], "column town: found list<.*>, expected texts"),
    ],
)
def test_a_retyped_column_of_a_parquet_file_is_refused(
    tmp_path: Path, workspace: Workspace, column: str, cells: list[object], message: str
) -> None:
    rows = make_typed_rows(rows=2).assign(**{column: cells})
    with pytest.raises(DataCheckError, match=message):
        run(workspace, write_parquet(tmp_path / "new.parquet", rows))


def test_a_column_twice_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    table = pa.Table.from_pandas(make_typed_rows(rows=2))
    pq.write_table(table.append_column("age", table["fare"]), tmp_path / "twice.parquet")
    with pytest.raises(DataCheckError, match=r"twice\.parquet: found the column age twice, expected each once"):
        run(workspace, str(tmp_path / "twice.parquet"))


def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    table = pa.Table.from_pandas(make_typed_rows(rows=1)).drop_columns("town")
    pq.write_table(table.append_column("town", pa.array([b"\xff"]).view(pa.string())), tmp_path / "latin.parquet")
    with pytest.raises(DataCheckError, match=r"column town, from row 0: found .* expected UTF-8"):
        run(workspace, str(tmp_path / "latin.parquet"))


def test_a_damaged_file_is_not_reported_as_a_fault_of_the_store(tmp_path: Path, workspace: Workspace) -> None:
    whole = Path(write_parquet(tmp_path / "new.parquet", make_typed_rows(rows=4000), row_group_size=4000)).read_bytes()
    (tmp_path / "new.parquet").write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(SourceError, match=r"new\.parquet: found .* expected rows; write the file again"):
        run(workspace, str(tmp_path / "new.parquet"))


def test_categories_that_pandas_made_floats_of_are_the_whole_numbers_that_they_were(
    tmp_path: Path, workspace: Workspace
) -> None:
    rows = make_typed_rows(rows=3).assign(town=[3.0, None, 4.0])
    as_text = rows.assign(town=["3", None, "4"])
    found = run(workspace, write_parquet(tmp_path / "floats.parquet", rows), "floats")
    expected = run(workspace, write_parquet(tmp_path / "texts.parquet", as_text), "texts")
    pd.testing.assert_frame_equal(found.drop(columns="input_file"), expected.drop(columns="input_file"))


def test_the_error_of_a_missing_input_names_the_expected_endings(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(SourceError, match=r"found no file of this name .* expected one that ends in \.csv"):
        plan_batch(workspace, "passengers", "none", NOW, str(tmp_path / "nothing"))
    (tmp_path / "false.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(SourceError, match="expected a Parquet file"):
        plan_batch(workspace, "passengers", "false", NOW, str(tmp_path / "false.parquet"))
    with pytest.raises(CatalogError, match="found 'tulips', expected one of passengers"):
        plan_batch(workspace, "tulips", "unknown", NOW)


def test_a_batch_that_lacks_a_part_is_not_finished(tmp_path: Path, workspace: Workspace) -> None:
    make_rows(rows=3).to_csv(tmp_path / "new.csv", index=False)
    shards = plan_batch(workspace, "passengers", "one", NOW, str(tmp_path / "new.csv"))
    with pytest.raises(DataCheckError, match="clear the shards"):
        finish_batch(workspace, shards, [])


def test_a_task_of_several_shards_opens_its_model_once(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    monkeypatch.setattr("ml_code.model_file.onnx_model.OnnxModel", lambda *given: opened.append(1) or OnnxModel(*given))
    monkeypatch.setattr("ml_code.batch.shards.SHARD_ROWS", 10)
    source = write_parquet(tmp_path / "new.parquet", make_typed_rows(rows=30), row_group_size=10)
    assert len(run(workspace, source)) == 30
    assert len(list((tmp_path / "predictions/passengers/once").glob("part-*"))) == 3
    assert len(opened) == 1


def test_a_shard_that_is_killed_anywhere_gives_the_same_bytes_when_it_is_repeated(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_code.batch.shards.SMALL_BYTES", 100)
    source = write_parquet(tmp_path / "large.parquet", make_typed_rows(rows=50_000), row_group_size=10_000)
    [shard] = plan_batch(workspace, "passengers", "killed", NOW, source)
    started = time.monotonic()
    [undisturbed] = predict_shards(workspace, [shard])
    seconds = time.monotonic() - started
    Path(undisturbed.uri).unlink()
    command = [sys.executable, "-c", SHARD_PROGRAM]
    environment = os.environ | {
        "SHARD": json.dumps(to_dict(shard)),
        "SETTINGS": dump_settings(workspace),
    }
    killed = 0
    while killed < 4:
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"started\n"
            time.sleep(seconds * (killed + 1) / 5)
            worker.kill()
        if worker.returncode == -signal.SIGKILL:
            killed += 1
        else:  # it had ended: the machine is quicker than a moment ago
            seconds /= 2
        assert not Path(undisturbed.uri).exists() or Path(undisturbed.uri).stat().st_size > 0
        assert predict_shards(workspace, [shard]) == [undisturbed]
        Path(undisturbed.uri).unlink()


SHARD_PROGRAM = """
import json, os
from ml_code.batch.shards import Shard, predict_shards
from ml_code.settings import Settings
from ml_code.workspace import open_workspace
import ml_code.batch.answers, ml_code.model_file.onnx_model
shard, settings = Shard(**json.loads(os.environ["SHARD"])), Settings(**json.loads(os.environ["SETTINGS"]))
print("started", flush=True)
predict_shards(open_workspace(settings), [shard])
"""


def to_dict(shard: Shard) -> dict[str, object]:
    return json.loads(json.dumps({name: getattr(shard, name) for name in Shard.__slots__}))


def dump_settings(workspace: Workspace) -> str:
    values = workspace.settings.model_dump(mode="json", exclude_none=True)
    return json.dumps(values | {"mlflow_password": "x", "s3_secret_key": "x"})
