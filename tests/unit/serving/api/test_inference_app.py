"""The Open Inference Protocol, asked of the app."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from serving.following.follower import Follower
from tests.unit.serving.app_client import ARRAYS, JSON, Ask, make_client, read

TENSOR = '{"inputs":[{"name":"rows","shape":[1,4],"datatype":"FP32","data":[[5.1,3.5,1.4,0.2]]}]}'


def test_the_inference_protocol_gives_the_same_answer_and_counts_the_same(ask: Ask, metrics: CollectorRegistry) -> None:
    answer = ask("POST", "/v2/models/iris/infer", content=TENSOR)
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "7"
    assert answer.json()["id"] == answer.headers["x-request-id"]
    assert (
        answer.json()["outputs"][0]["data"]
        == ask("POST", "/predict", content=ARRAYS, headers=JSON).json()["predictions"]
    )
    assert read(metrics, "mlops_prediction_seconds_count") == 2


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("POST", "/v2/models/iris/versions/7/infer", TENSOR, {}, 200),
        ("POST", "/v2/models/iris/versions/6/infer", TENSOR, {}, 404),
        ("POST", "/v2/models/stranger/infer", TENSOR, {}, 404),
        ("POST", "/v2/models/housing/infer", TENSOR, {}, 503),
        ("POST", "/v2/models/iris/infer", "[[1", {}, 400),
        ("POST", "/v2/models/iris/infer", ARRAYS, {}, 400),
        ("POST", "/v2/models/iris/infer", TENSOR.replace("5.1", "1e39"), {}, 400),
        ("POST", "/v2/models/iris/infer", TENSOR, {"content-type": "text/plain"}, 415),
        ("GET", "/v2/models/iris/infer", None, {}, 405),
        ("GET", "/v2", None, {}, 200),
        ("GET", "/v2/health/live", None, {}, 200),
        ("GET", "/v2/health/ready", None, {}, 200),
        ("GET", "/v2/models/iris", None, {}, 200),
        ("GET", "/v2/models/iris/versions/7", None, {}, 200),
        ("GET", "/v2/models/iris/versions/6", None, {}, 404),
        ("GET", "/v2/models/iris/ready", None, {}, 200),
        ("GET", "/v2/models/iris/versions/7/ready", None, {}, 200),
        ("GET", "/v2/models/iris/versions/6/ready", None, {}, 404),
        ("GET", "/v2/models/stranger/ready", None, {}, 404),
        ("GET", "/v2/models/housing/ready", None, {}, 503),
        ("GET", "/v2/no/such/path", None, {}, 404),
        ("POST", "/v2/health/live", TENSOR, {}, 405),
    ],
)
def test_the_inference_protocol_has_its_own_paths_and_errors(  # noqa: PLR0917  one argument per column of the table
    ask: Ask, method: str, path: str, content: str | None, headers: dict[str, str], status: int
) -> None:
    answer = ask(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["x-request-id"]
    if status >= 400:
        assert set(answer.json()) == {"error"}


def test_a_bad_cell_of_a_tensor_is_named_by_row_and_field(ask: Ask) -> None:
    answer = ask("POST", "/v2/models/iris/infer", content=TENSOR.replace("5.1", "1e39"))
    assert "row 0 sepal_length: found 1e+39, expected a number that float32 holds" in answer.json()["error"]


def test_the_inference_protocol_has_no_query(ask: Ask) -> None:
    answer = ask("POST", "/v2/models/iris/infer?probabilities=true", content=TENSOR)
    assert answer.status_code == 400
    assert answer.json()["error"] == "query: found the parameter 'probabilities', expected none"


@pytest.mark.parametrize("found", [500, -3])
def test_a_number_outside_of_its_datatype_is_refused(ask: Ask, found: int) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "UINT8", "data": [1, 2, found, 0]}
    answer = ask("POST", "/v2/models/iris/infer", content=json.dumps({"inputs": [tensor]}))
    assert answer.status_code == 400
    assert f"found {found}, expected UINT8: 0 to 255" in answer.json()["error"]


def test_the_inference_protocol_describes_a_model(ask: Ask) -> None:
    described = ask("GET", "/v2/models/ships").json()
    assert (described["name"], described["versions"]) == ("ships", ["7"])
    assert described["inputs"] == [
        {"name": "size", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "port", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert described["outputs"] == [{"name": "predictions", "datatype": "FP64", "shape": [-1]}]


def test_a_replica_without_models_is_alive_and_not_ready_in_the_inference_protocol(
    follower: Follower, metrics: CollectorRegistry
) -> None:
    ask = make_client(follower, metrics)
    statuses = [
        ask("GET", path).status_code for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready")
    ]
    assert statuses == [200, 503, 503]


def ask_in_binary(ask: Ask, *, length: str | None = None, **more: object) -> httpx.Response:
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    content = head + np.array([5.1, 3.5, 1.4, 0.2], np.float32).tobytes()
    headers = {"content-type": "application/octet-stream"}
    if length != "":
        headers["inference-header-content-length"] = length or str(len(head))
    return ask("POST", "/v2/models/iris/infer", content=content, headers=headers)


def test_a_response_has_its_tensors_behind_its_json_where_they_are_wanted(ask: Ask) -> None:
    plain = ask_in_binary(ask)
    assert plain.headers["content-type"] == "application/json"
    assert plain.json()["outputs"][0]["data"] == [0]
    answer = ask_in_binary(ask, parameters={"binary_data_output": True})
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    outputs = json.loads(answer.content[:length])["outputs"]
    assert [(one["name"], one["parameters"]["binary_data_size"]) for one in outputs] == [
        ("predictions", 8),
        ("probabilities", 12),
    ]
    assert np.frombuffer(answer.content[length : length + 8], "<i8").tolist() == [0]
    shares = np.frombuffer(answer.content[length + 8 :], "<f4")
    assert shares.tolist() == pytest.approx(plain.json()["outputs"][1]["data"])


@pytest.mark.parametrize("length", ["x", "-1", "1" * 11, "1e3"])
def test_a_length_that_is_not_a_number_is_refused(ask: Ask, length: str) -> None:
    answer = ask_in_binary(ask, length=length)
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length: found" in answer.json()["error"]


def test_bytes_without_the_length_of_their_json_are_refused(ask: Ask) -> None:
    answer = ask_in_binary(ask, length="")
    assert answer.status_code == 415
    assert "or the header Inference-Header-Content-Length" in answer.json()["error"]
