"""Rows of a person as the gateway's requests, and back; the app that answers them is the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ml_code.errors import SourceError
from ml_code.reading.rules import NumberForm, Reading
from mlops.batches import Source, predict_batch, read_cell, read_json, read_table, split
from mlops.errors import AnswerError, InputError, NoAnswerError
from mlops.gateway import FeatureKind, Gateway
from tests.unit.mlops.conftest import AppServer

PLAIN = Reading()
SHIP = [FeatureKind("size", is_numeric=True), FeatureKind("port", is_numeric=False)]


@pytest.fixture
def client(gateway: AppServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr("mlops.gateway.time.sleep", lambda seconds: None)
    with closing(Gateway(gateway.url)) as client:
        yield client


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "rows.csv"
    file.write_bytes(text.encode(encoding))
    return file


def read(file: Path, said: list[str] | None = None, reading: Reading = PLAIN) -> list[object]:
    return [json.loads(row.body) for row in read_table(file, SHIP, reading, [].append if said is None else said.append)]


@pytest.mark.parametrize(
    ("text", "numeric", "categorical"),
    [
        (" 5.10 ", 5.1, "5.10"),
        ("007", 7, "007"),
        ("1234567890", 1234567890, "1234567890"),
        ("-1e3", -1000, "-1e3"),
        ("(500)", -500, "(500)"),
        ("", None, None),
        ("NA", None, "NA"),
        ("true", True, "true"),
        ("1_000", "1_000", "1_000"),
        ("1e999", "1e999", "1e999"),
        ("५", "५", "५"),
        ("서울", "서울", "서울"),
    ],
)
def test_a_cell_is_a_number_only_in_a_column_of_numbers(text: str, numeric: object, categorical: object) -> None:
    found = read_cell(text, SHIP[0], PLAIN)
    assert (found, type(found)) == (numeric, type(numeric))
    assert read_cell(text, SHIP[1], PLAIN) == categorical


def test_a_file_is_read_with_its_mark_and_without_the_columns_that_the_model_does_not_read(tmp_path: Path) -> None:
    said: list[str] = []
    file = write(tmp_path, 'id, port ,size,price\n1,"a, b",2,9\n2,,NA,9\n', "utf-8-sig")
    assert read(file, said) == [{"size": 2, "port": "a, b"}, {"size": None, "port": None}]
    assert said == ["left out, as the model does not read them: id, price"]


def test_a_file_is_read_by_the_rules_of_its_dataset(tmp_path: Path) -> None:
    reading = Reading(
        encoding="cp949",
        separator=";",
        skip_lines=1,
        decimal=",",
        columns={"size": NumberForm(thousands=",", signs=["원"])},
    )
    file = write(tmp_path, "판매\nport;size\n부산;1,500 원\n", "cp949")
    assert read(file, reading=reading) == [{"size": 1500, "port": "부산"}]


@pytest.mark.parametrize(
    ("text", "error", "finding"),
    [
        ("", SourceError, "found an empty file"),
        ("size\n1\n", InputError, "found no column port in the header"),
        ("size,port,size\n1,a,2\n", SourceError, "one column name twice"),
        ("size,port\n1,a\n2\n", InputError, "line 3: found an invalid row, .*too few fields: found 1, expected 2"),
        ("size,port\n", SourceError, "found a header and no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, text: str, error: type[Exception], finding: str
) -> None:
    with pytest.raises(error, match=finding):
        read(write(tmp_path, text))


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '["a"]'])
def test_a_text_that_is_not_rows_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="rows: expected"):
        list(read_json(text))


def test_rows_are_split_into_what_the_gateway_takes() -> None:
    rows = [Source(b"x" * 10, "line") for _ in range(7)]
    assert [len(batch) for batch in split(rows, max_rows=3)] == [3, 3, 1]
    by_bytes = list(split(rows, max_bytes=35))
    assert [len(batch) for batch in by_bytes] == [3, 3, 1]
    assert all(len(b"[" + b",".join(row.body for row in batch) + b"]") <= 35 for batch in by_bytes)
    assert len(list(split([Source(b"x" * 99, "line")], max_bytes=35))) == 1


def test_the_models_and_their_columns_are_found(client: Gateway) -> None:
    assert client.list_features("ships") == SHIP
    with pytest.raises(AnswerError, match=r"found no version that serves .* `mlops deploy housing`"):
        client.list_features("housing")


def test_predictions_come_back_in_order(client: Gateway, tmp_path: Path) -> None:
    rows = list(read_table(write(tmp_path, "port,size\nbusan,2\n,3\n"), client.list_features("ships"), PLAIN, print))
    found = predict_batch(client, "ships", rows, print, with_probabilities=False)
    assert (found.header, found.rows, found.version) == (["prediction"], [[120], [30]], "7")


def test_probabilities_are_columns_by_class(client: Gateway) -> None:
    rows = list(read_json("[5.1, 3.5, 1.4, 0.2]".join("[]")))
    found = predict_batch(client, "iris", rows, print, with_probabilities=True)
    assert found.header == ["prediction", "probability_0", "probability_1", "probability_2"]
    assert sum(found.rows[0][1:]) == pytest.approx(1, abs=1e-6)


def test_a_refusal_names_the_line_and_the_column(client: Gateway, tmp_path: Path) -> None:
    rows = list(read_table(write(tmp_path, "port,size\nbusan,2\nbusan,much\n"), SHIP, PLAIN, print))
    with pytest.raises(AnswerError, match=r"found status 422: .*\n  line 3, size: found .*much"):
        predict_batch(client, "ships", rows, print, with_probabilities=False)


def test_a_busy_gateway_is_asked_again(client: Gateway, gateway: AppServer) -> None:
    rows = list(read_json('{"size": 2, "port": "busan"}'))
    gateway.refusals = [429, 503]
    assert predict_batch(client, "ships", rows, print, with_probabilities=False).rows == [[120]]
    gateway.refusals = [503] * 5
    with pytest.raises(AnswerError, match="found status 503"):
        predict_batch(client, "ships", rows, print, with_probabilities=False)
    gateway.refusals = [400]
    with pytest.raises(AnswerError, match="found status 400"):
        predict_batch(client, "ships", rows, print, with_probabilities=False)


def test_warnings_are_shown_by_their_line(client: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {
        "predictions": [1, 2],
        "model": {"version": "7"},
        "warnings": [{"row": 1, "field": "port", "warning": "unknown"}],
    }
    monkeypatch.setattr(client, "_send", lambda *_: httpx.Response(200, json=body))
    said: list[str] = []
    rows = [Source(b"{}", "line 2"), Source(b"{}", "line 3")]
    predict_batch(client, "ships", rows, said.append, with_probabilities=False)
    assert said == ["  line 3, port: unknown"]


def test_a_gateway_that_does_not_run_is_started_by_make_up() -> None:
    with closing(Gateway("http://127.0.0.1:1")) as client, pytest.raises(NoAnswerError, match="`make up` starts"):
        client.list_features("iris")
