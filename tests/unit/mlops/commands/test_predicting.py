from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ml_code.datasets import CATALOG
from ml_code.settings import Settings
from mlops import batches
from mlops.app import app
from serving.limits import MAX_BODY_BYTES
from tests.unit.mlops.conftest import AppServer

HEADER = "sepal_length,sepal_width,petal_length,petal_width,species\n"
ROWS = HEADER + "5.1,3.5,1.4,0.2,0\n6.0,2.9,4.5,1.5,1\n5.0,3.4,1.5,0.2,0\n"
OBJECT = '{"sepal_length": 6.0, "sepal_width": 2.9, "petal_length": 4.5, "petal_width": 1.5}'


@pytest.fixture(autouse=True)
def host(gateway: AppServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    host = settings.model_copy(update={"gateway_url": gateway.url})
    monkeypatch.setattr("mlops.commands.predicting.load_host_settings", lambda: host)
    return host


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["predict", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "flowers.csv"
    file.write_text(ROWS)
    return file


def test_a_file_is_predicted_in_parts_and_printed_as_csv(
    file: Path, gateway: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches.split, "__defaults__", (2, MAX_BODY_BYTES))
    done = run("iris", str(file))
    assert (done.exit_code, done.stdout) == (0, "prediction\n0\n1\n0\n"), done.output
    assert [len(json.loads(body)) for body in gateway.bodies] == [2, 1]
    assert "left out, as the model does not read them: species" in done.stderr
    assert "3 predictions of iris version 7" in done.stderr


@pytest.mark.parametrize("rows", [OBJECT, f"[{OBJECT}]", "[[6.0, 2.9, 4.5, 1.5]]"])
def test_rows_as_json_are_predicted(rows: str) -> None:
    done = run("iris", rows)
    assert (done.exit_code, done.stdout) == (0, "prediction\n1\n"), done.output


def test_a_file_of_predictions_has_probabilities_if_they_are_asked_for(file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    done = run("iris", str(file), "--probabilities", "--output", str(output))
    assert (done.exit_code, done.stdout) == (0, "")
    assert output.read_text().startswith("prediction,probability_0,probability_1,probability_2\n0,")
    assert len(output.read_text().splitlines()) == 4


def test_a_refused_row_is_named_and_leaves_no_file(file: Path, tmp_path: Path) -> None:
    file.write_text(ROWS + "long,2.9,4.5,1.5,1\n")
    output = tmp_path / "out.csv"
    done = run("iris", str(file), "--output", str(output))
    assert done.exit_code == 1
    assert "line 5, sepal_length: found" in done.stderr
    assert [found.name for found in tmp_path.iterdir() if "out" in found.name] == []


def test_a_file_without_rows_is_refused(file: Path) -> None:
    file.write_text(HEADER)
    done = run("iris", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "found a header and no rows" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tulips", OBJECT], 2, "found 'tulips', expected one of"),
        (["iris", "{"], 2, "found invalid JSON"),
        (["iris", "nowhere.csv"], 1, "nowhere.csv"),
        (["iris", '{"sepal_length": 5.1}'], 1, "row 1, sepal_width: missing field"),
    ],
)
def test_a_wrong_request_is_one_message(arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output
