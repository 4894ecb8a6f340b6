from __future__ import annotations

import hashlib
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.answering.findings import ReadRows
from serving.following.follower import Follower
from serving.limits import MAX_BODY_BYTES
from serving.registry.names import CHAMPION
from serving.registry.reader import RegisteredModel
from tests.unit.serving.app_client import ARRAYS, JSON, Ask, make_client, read

OBJECTS = (
    '[{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2},'
    '{"sepal_length":6.0,"sepal_width":2.9,"petal_length":4.5,"petal_width":1.5}]'
)


def test_arrays_are_answered_with_predictions_model_and_request_id(ask: Ask) -> None:
    answer = ask("POST", "/predict", content=ARRAYS, headers=JSON)
    assert answer.status_code == 200
    assert answer.json() == {
        "predictions": [0],
        "model": {"name": "iris", "version": "7"},
        "request_id": answer.headers["x-request-id"],
    }
    assert answer.headers["x-model-version"] == "7"


def test_objects_are_answered_too(ask: Ask) -> None:
    assert ask("POST", "/predict", content=OBJECTS, headers=JSON).json()["predictions"] == [0, 1]


def test_probabilities_come_when_asked_for(ask: Ask) -> None:
    answer = ask("POST", "/predict?probabilities=true", content=ARRAYS, headers=JSON).json()
    assert answer["classes"] == [0, 1, 2]
    assert sum(answer["probabilities"][0]) == pytest.approx(1, abs=1e-6)
    assert answer["predictions"] == [0]
    plain = ask("POST", "/predict?probabilities=false", content=ARRAYS, headers=JSON).json()
    assert "probabilities" not in plain


def test_another_model_is_asked_by_its_name(ask: Ask) -> None:
    rows = '[[2, "busan"], {"port": null, "size": 3}, [1, "b\\u0000d"], [1, 3.0]]'
    answer = ask("POST", "/models/ships/predict", content=rows, headers=JSON)
    assert answer.json()["predictions"] == [120, 30, 10, 17]


def test_a_large_batch_is_answered_like_a_small_one(ask: Ask) -> None:
    rows = "[" + ",".join(["[5.1, 3.5, 1.4, 0.2]"] * 10_000) + "]"
    assert ask("POST", "/predict", content=rows, headers=JSON).json()["predictions"] == [0] * 10_000


def test_the_server_makes_the_request_id_itself(ask: Ask) -> None:
    headers = {**JSON, "x-request-id": "mine"}
    assert ask("POST", "/predict", content=ARRAYS, headers=headers).headers["x-request-id"] != "mine"


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("POST", "/predict", "", JSON, 400),
        ("POST", "/predict", "[[5.1", JSON, 400),
        ("POST", "/predict", "[]", JSON, 422),
        ("POST", "/predict", "[[1, 2]]", JSON, 422),
        ("POST", "/predict?probabilities=maybe", ARRAYS, JSON, 422),
        ("POST", "/models/ships/predict?probabilities=1", '[[1, "busan"]]', JSON, 422),
        ("POST", "/predict", ARRAYS, {"content-type": "text/plain"}, 415),
        ("POST", "/predict", ARRAYS, {}, 415),
        ("POST", "/predict", "--x\r\nbroken", {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("POST", "/predict", ARRAYS, {**JSON, "content-encoding": "gzip"}, 415),
        ("POST", "/predict", "[" + " " * MAX_BODY_BYTES + "]", JSON, 413),
        ("GET", "/predict", None, {}, 405),
        ("PUT", "/models/iris/predict", ARRAYS, JSON, 405),
        ("POST", "/models", ARRAYS, JSON, 405),
        ("POST", "/rollouts", ARRAYS, JSON, 405),
        ("POST", "/models/stranger/predict", ARRAYS, JSON, 404),
        ("POST", "/models/a/b/predict", ARRAYS, JSON, 404),
        ("GET", "/no/such/page", None, {}, 404),
        ("POST", "/models/housing/predict", ARRAYS, JSON, 503),
    ],
)
def test_a_bad_request_gets_its_status_as_json(  # noqa: PLR0917  one argument per column of the table
    ask: Ask, method: str, path: str, content: str | None, headers: dict[str, str], status: int
) -> None:
    answer = ask(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "detail", "request_id"}
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]


def test_a_bad_cell_is_named_by_row_and_field(ask: Ask) -> None:
    answer = ask("POST", "/predict", content="[[1, 2, 3, 4], [1, 2, 3, true]]", headers=JSON)
    problem = "found true, expected a number or null; only a feature of 0 and 1 reads true and false"
    assert answer.json()["detail"] == [{"row": 1, "field": "petal_width", "problem": problem}]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("proba=true", "query: found the parameter 'proba', expected probabilities"),
        ("probabilities=true&Probabilities=true", "query: found the parameter 'Probabilities', expected probabilities"),
        ("probabilities=true&probabilities=false", "probabilities: found it more than once, expected it once"),
        ("probabilities=", "probabilities: found '', expected true or false"),
    ],
)
def test_a_query_that_is_not_read_is_refused(ask: Ask, query: str, problem: str) -> None:
    answer = ask("POST", f"/predict?{query}", content=ARRAYS, headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (422, problem)


def test_a_body_without_a_length_is_refused_at_the_limit(ask: Ask) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 100_000

    assert ask("POST", "/predict", content=endless(), headers=JSON).status_code == 413


def test_a_model_that_fails_gives_no_traceback(ask: Ask, follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    served = follower.slots["iris", CHAMPION]
    monkeypatch.setattr(type(served.parser), "parse", lambda *_: ReadRows([["text"]]))
    answer = ask("POST", "/predict", content=ARRAYS, headers=JSON)
    assert answer.status_code == 500
    assert "text" not in answer.text
    assert answer.json()["request_id"]


def test_what_serves_is_listed(ask: Ask) -> None:
    listed = ask("GET", "/models").json()
    assert listed["default_model"] == "iris"
    assert [(model["name"], model["version"], model["variant"]) for model in listed["models"]] == [
        ("iris", "7", "champion"),
        ("ships", "7", "champion"),
    ]


def test_rollouts_are_told(ask: Ask) -> None:
    told = ask("GET", "/rollouts")
    assert told.status_code == 200
    assert [(model["name"], model["champion"]) for model in told.json()["models"]] == [("iris", "7"), ("ships", "7")]


def test_readiness_says_what_serves_and_that_the_registry_is_unread(ask: Ask) -> None:
    answer = ask("GET", "/readyz")
    assert answer.status_code == 200
    assert answer.json()["registry"]["reachable"] is False
    assert [model["version"] for model in answer.json()["models"]] == ["7", "7"]


def test_a_replica_without_models_is_not_ready_and_says_so(follower: Follower, metrics: CollectorRegistry) -> None:
    ask = make_client(follower, metrics)
    assert ask("GET", "/readyz").status_code == 503
    assert ask("GET", "/readyz").json()["ready"] is False
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON).status_code == 503


def test_the_api_describes_the_rows_of_each_model_that_serves(ask: Ask) -> None:
    paths = ask("GET", "/openapi.json").json()["paths"]
    plain = {path for path in paths if not path.startswith("/v2")}
    assert plain == {"/predict", "/models", "/rollouts", "/feedback", "/models/iris/predict", "/models/ships/predict"}
    assert {"/v2", "/v2/models/iris/infer", "/v2/models/ships/ready"} <= set(paths)
    body = paths["/models/ships/predict"]["post"]["requestBody"]["content"]["application/json"]
    by_name = body["schema"]["items"]["anyOf"][1]
    assert by_name["required"] == ["size", "port"]
    assert body["examples"]["arrays"]["value"] == [[1.0, "busan"], [2.0, None]]


@pytest.mark.parametrize("path", ["/docs/", "/models/", "/readyz/"])
def test_no_header_of_a_request_becomes_the_host_of_a_redirect(ask: Ask, path: str) -> None:
    answer = ask("GET", path, headers={"host": "elsewhere.example"})
    assert (answer.status_code, answer.headers.get("location")) in {(308, "../docs"), (404, None)}


def test_the_docs_page_needs_no_other_host(ask: Ask) -> None:
    page = ask("GET", "/docs")
    assert page.status_code == 200
    assert "//" not in page.text
    assert ask("GET", "/docs/assets/swagger-ui-bundle.js").status_code == 200
    assert ask("GET", "/docs/start.js").status_code == 200


def test_an_answer_counts_for_its_version_and_a_refusal_for_none(ask: Ask, metrics: CollectorRegistry) -> None:
    ask("POST", "/predict", content=OBJECTS, headers=JSON)
    ask("POST", "/predict", content="[", headers=JSON)
    assert read(metrics, "mlops_prediction_seconds_count") == 1
    assert read(metrics, "mlops_prediction_rows_total") == 2
    assert read(metrics, "mlops_prediction_classes_total", **{"class": "1"}) == 1
    assert read(metrics, "mlops_prediction_failures_total") == 0
    assert metrics.get_sample_value("mlops_prediction_refusals_total", {"status": "400"}) == 1


@pytest.mark.parametrize(
    ("headers", "traffic"),
    [
        ({}, "live"),
        ({"X-Pool-Choice": "drawn"}, "live"),
        ({"X-Pool-Choice": "asked"}, "asked"),
        ({"X-Replay": "the word"}, "replay"),
        ({"X-Replay": "the word", "X-Pool-Choice": "asked"}, "replay"),
        ({"X-Replay": "1"}, "asked"),
        ({"X-Replay": hashlib.sha256(b"the word").hexdigest()}, "asked"),
        ({"X-Pool-Choice": "probe"}, "probe"),
        ({"X-Pool-Choice": "probe", "X-Replay": "the word"}, "probe"),
    ],
)
def test_traffic_is_told_apart_by_who_chose_it(
    ask: Ask, follower: Follower, metrics: CollectorRegistry, headers: dict[str, str], traffic: str
) -> None:
    mark = hashlib.sha256(b"the word").hexdigest()
    follower.registered = {"iris": RegisteredModel({}, replay_mark=mark)}
    ask("POST", "/predict", content=ARRAYS, headers={**JSON, **headers})
    kinds = ("live", "asked", "replay", "probe")
    counted = {kind: read(metrics, "mlops_prediction_rows_total", traffic=kind) for kind in kinds}
    assert counted == {kind: 1 if kind == traffic else None for kind in counted}


def test_a_version_that_fails_is_charged_with_it(
    ask: Ask, follower: Follower, metrics: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(follower.slots["iris", CHAMPION].parser), "parse", lambda *_: ReadRows([["text"]]))
    answer = ask("POST", "/predict", content=ARRAYS, headers=JSON)
    assert (answer.status_code, answer.headers["x-model-version"]) == (500, "7")
    assert read(metrics, "mlops_prediction_failures_total") == 1


def test_an_error_too_says_which_version_answered(ask: Ask) -> None:
    assert ask("POST", "/predict", content="[[1]]", headers=JSON).headers["x-model-version"] == "7"
    assert ask("POST", "/predict", content=ARRAYS).headers["x-model-version"] == "7"
