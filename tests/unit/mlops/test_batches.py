"""Rows of a person as the gateway's requests, and back; the app that answers them is the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from mlops import batches
from mlops.batches import Source, predict_batch, read_cell, read_csv, read_json, split
from mlops.errors import AnswerError, InputError, NoAnswerError
from mlops.gateway import FeatureKind, Gateway
from serving.answering import rows as limits
from tests.unit.mlops.conftest import AppServer

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


def read(file: Path, said: list[str] | None = None) -> list[object]:
    return [json.loads(row.body) for row in read_csv(file, SHIP, [].append if said is None else said.append)]


@pytest.mark.parametrize(
    ("text", "numeric", "categorical"),
    [
        (" 5.10 ", 5.1, "5.10"),
        ("007", 7, "007"),
        ("123456789012345678901", 123456789012345678901, "123456789012345678901"),
        ("-1e3", -1000.0, "-1e3"),
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
    found = read_cell(text, SHIP[0])
    assert (found, type(found)) == (numeric, type(numeric))
    assert read_cell(text, SHIP[1]) == categorical


def test_a_file_is_read_with_its_mark_and_without_the_columns_that_the_model_does_not_read(tmp_path: Path) -> None:
    said: list[str] = []
    file = write(tmp_path, 'id, port ,size,price\n1,"a, b",2,9\n\n2,,NA,9\n', "utf-8-sig")
    assert read(file, said) == [{"size": 2, "port": "a, b"}, {"size": None, "port": None}]
    assert said == ["left out, as the model does not read them: id, price"]


@pytest.mark.parametrize(
    ("text", "encoding", "finding"),
    [
        ("", "utf-8", "found an empty file"),
        ("size\n1\n", "utf-8", "found no column port in the header"),
        ("size,port,size\n1,a,2\n", "utf-8", "found the column size twice"),
        ("size,port\n1,a\n2\n", "utf-8", "line 3: found 1 cells, expected 2"),
        ("size,port\n1,부산\n", "cp949", "found another encoding, expected UTF-8"),
        (f"size,port\n1,{'x' * 1_000_001}\n", "utf-8", "expected CSV, found: field larger"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, text: str, encoding: str, finding: str
) -> None:
    with pytest.raises(InputError, match=finding):
        read(write(tmp_path, text, encoding))


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '["a"]'])
def test_a_text_that_is_not_rows_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="rows: expected"):
        list(read_json(text))


def test_rows_are_split_into_what_the_gateway_takes() -> None:
    assert (batches.MAX_ROWS, batches.MAX_BODY_BYTES) == (limits.MAX_ROWS, limits.MAX_BODY_BYTES)
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
    rows = list(read_csv(write(tmp_path, "port,size\nbusan,2\n,3\n"), client.list_features("ships"), print))
    found = predict_batch(client, "ships", rows, print, with_probabilities=False)
    assert (found.header, found.rows, found.version) == (["prediction"], [[120], [30]], "7")


def test_probabilities_are_columns_by_class(client: Gateway) -> None:
    rows = list(read_json("[5.1, 3.5, 1.4, 0.2]".join("[]")))
    found = predict_batch(client, "iris", rows, print, with_probabilities=True)
    assert found.header == ["prediction", "probability_0", "probability_1", "probability_2"]
    assert sum(found.rows[0][1:]) == pytest.approx(1, abs=1e-6)


def test_a_refusal_names_the_line_and_the_column(client: Gateway, tmp_path: Path) -> None:
    rows = list(read_csv(write(tmp_path, "port,size\nbusan,2\n\nbusan,much\n"), SHIP, print))
    with pytest.raises(AnswerError, match=r"found status 422: .*\n  line 4, size: found .*much"):
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
