"""Answers that say which cells training did not know."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.following.follower import Follower
from serving.registry.reader import RegisteredModel
from tests.unit.serving.app_client import JSON, Ask, read
from tests.unit.serving.onnx_files import describe_training, make_classifier, make_mixed_regressor

SIZE = {"minimum": 0.0, "maximum": 50.0, "has_missing": False}
PORT = {"categories": ["busan", "서울", "3"], "has_missing": False}
STRANGE = [[51, "busan"], [1, "incheon"], [None, "  "], [2, 4], [50, " busan "]]


@pytest.fixture(params=["warn"])
def contents(request: pytest.FixtureRequest) -> dict[str, bytes]:
    ships = describe_training(make_mixed_regressor(), unknown=request.param, size=SIZE, port=PORT)
    return {"iris": make_classifier(), "ships": ships}


refusing = pytest.mark.parametrize("contents", ["refuse"], indirect=True)


def predict(ask: Ask, rows: Any, **headers: str) -> Any:
    return ask("POST", "/models/ships/predict", content=json.dumps(rows), headers=JSON | headers)


def infer(ask: Ask, rows: Any) -> Any:
    sizes, ports = ([row[i] for row in rows] for i in range(2))
    inputs = [
        {"name": "size", "shape": [len(rows)], "datatype": "FP64", "data": sizes},
        {"name": "port", "shape": [len(rows)], "datatype": "BYTES", "data": ports},
    ]
    return ask("POST", "/v2/models/ships/infer", content=json.dumps({"inputs": inputs}))


def test_known_cells_are_answered_without_a_word(ask: Ask) -> None:
    rows = [[0, "busan"], [50.0, "서울"], [1, 3], [1, " busan "], [1, "3.0"]]
    assert set(predict(ask, rows).json()) == {"predictions", "model", "request_id"}
    assert all("warnings" not in predict(ask, [row]).json() for row in rows)
    assert "parameters" not in infer(ask, [row for row in rows if isinstance(row[1], str)]).json()


def test_unknown_cells_are_answered_and_named(ask: Ask) -> None:
    answer = predict(ask, STRANGE).json()
    assert answer["warnings"] == [
        {"row": 0, "field": "size", "warning": "found the number 51, expected 0 to 50"},
        {"row": 1, "field": "port", "warning": "found the text 'incheon', which no row of the training had"},
        {"row": 2, "field": "size", "warning": "found no value, and no row of the training lacked one"},
        {"row": 2, "field": "port", "warning": "found no value, and no row of the training lacked one"},
        {"row": 3, "field": "port", "warning": "found the number 4, which no row of the training had"},
    ]


def test_one_row_warns_as_a_row_of_many_does(ask: Ask) -> None:
    of_all = predict(ask, STRANGE).json()["warnings"]
    alone = [
        warning | {"row": number}
        for number, row in enumerate(STRANGE)
        for warning in predict(ask, [row]).json().get("warnings", [])
    ]
    assert alone == of_all


def test_the_inference_protocol_has_the_same_warnings_as_a_text(ask: Ask) -> None:
    rows = [row for row in STRANGE if isinstance(row[1], str)]
    assert json.loads(infer(ask, rows).json()["parameters"]["warnings"]) == predict(ask, rows).json()["warnings"]


def test_at_most_twenty_warnings_are_named_and_all_are_counted(ask: Ask, metrics: CollectorRegistry) -> None:
    answer = predict(ask, [[51, "busan"]] * 30 + [[None, "incheon"]]).json()
    assert [warning["row"] for warning in answer["warnings"]] == list(range(20))
    kinds = ("out_of_range", "unknown_category", "missing")
    counted = [read(metrics, "mlops_prediction_warnings_total", model="ships", kind=kind) for kind in kinds]
    assert counted == [30, 1, 1]


def test_kinds_without_a_warning_count_from_zero(ask: Ask, metrics: CollectorRegistry) -> None:
    predict(ask, [[1, "busan"]])
    assert read(metrics, "mlops_prediction_warnings_total", model="ships", kind="missing") == 0


@refusing
def test_a_dataset_may_refuse_what_training_did_not_know(ask: Ask, metrics: CollectorRegistry) -> None:
    assert predict(ask, [[1, "busan"]]).status_code == 200
    refused = predict(ask, STRANGE)
    assert refused.status_code == 422
    assert refused.json()["error"] == "5 problem(s) in 5 row(s) of the body; no row was answered"
    assert refused.json()["detail"][1] == {
        "row": 1,
        "field": "port",
        "problem": "found the text 'incheon', which no row of the training had",
    }
    refused = infer(ask, [[1, "incheon"]])
    assert refused.status_code == 400
    assert "row 0 port: found the text 'incheon'" in refused.json()["error"]


@refusing
def test_a_rollout_may_replay_holdout_rows_that_no_training_row_is_like(ask: Ask, follower: Follower) -> None:
    mark = hashlib.sha256(b"the word").hexdigest()
    follower.registered = {"ships": RegisteredModel({}, replay_mark=mark)}
    answer = predict(ask, [[1, "incheon"]], **{"X-Replay": "the word"})
    assert (answer.status_code, len(answer.json()["warnings"])) == (200, 1)
    assert predict(ask, [[1, "incheon"]], **{"X-Replay": "1"}).status_code == 422


def test_both_unicode_forms_of_a_text_are_one_category(ask: Ask) -> None:
    for port in ("\uc11c\uc6b8", "\u1109\u1165\u110b\u116e\u11af"):
        assert "warnings" not in predict(ask, [[1, port]]).json()


def test_the_description_of_the_api_names_warnings_and_ranges(ask: Ask) -> None:
    described = ask("GET", "/openapi.json").json()["paths"]["/models/ships/predict"]["post"]
    cells = described["requestBody"]["content"]["application/json"]["schema"]["items"]["anyOf"][1]["properties"]
    assert cells["size"]["description"] == "expected 0 to 50"
    assert cells["port"]["examples"] == ["3", "busan", "서울"]
    answer = described["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert answer["warnings"]["items"]["required"] == ["row", "field", "warning"]


def test_the_list_of_models_does_not_repeat_every_category(ask: Ask) -> None:
    features = ask("GET", "/models").json()["models"][1]["features"]
    assert [feature["name"] for feature in features] == ["size", "port"]
    assert "서울" not in ask("GET", "/models").text
