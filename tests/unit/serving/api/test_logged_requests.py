"""Which requests the app logs, and how."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from ml_code.monitoring.prediction_log.blocks import Block, Row, read_time
from serving.answering.tensors import pack
from serving.api.prediction_log import PredictionLog
from serving.following.follower import Follower
from serving.limits import MAX_BODY_BYTES
from tests.unit.serving.app_client import ARRAYS, JSON, Ask, make_client
from tests.unit.serving.log_fakes import FakeLines, make_log, read_figures

TRACE = "0af7651916cd43dd8448eb211c80319c"

TENSORS = {
    "id": "order-7",
    "inputs": [
        {"name": "size", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]},
        {"name": "port", "shape": [2], "datatype": "BYTES", "data": ["busan", None]},
    ],
}


@pytest.fixture
def lines() -> FakeLines:
    return FakeLines()


@pytest.fixture
def log(lines: FakeLines) -> PredictionLog:
    return make_log(lines)


@pytest.fixture
def ask(follower: Follower, metrics: CollectorRegistry, log: PredictionLog) -> Ask:
    asyncio.run(follower.restore())
    return make_client(follower, metrics, log)


def read_rows(log: PredictionLog, lines: FakeLines) -> list[tuple[Block, Row]]:
    log.flush()
    return [(block, row) for block in lines.list_blocks() for row in block.rows]


def test_an_answer_carries_the_id_under_which_it_is_logged(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    headers = JSON | {"x-client-request-id": "order-1", "x-user-id": "kim"}
    response = ask("POST", "/predict", content=ARRAYS, headers=headers)
    [(block, row)] = read_rows(log, lines)
    assert row.request_id == response.headers["x-request-id"] == response.json()["request_id"]
    assert row.time_ms == read_time(row.request_id)
    assert (block.head.model, block.head.version, block.head.variant) == ("iris", "7", "champion")
    assert (row.client_request_id, row.unit, row.features) == ("order-1", None, [5.1, 3.5, 1.4, 0.2])
    assert row.prediction == response.json()["predictions"][0]
    assert row.milliseconds > 0


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (ARRAYS, f"00-{TRACE}-b7ad6b7169203331-00"),
        ('[["no number", 1, 1, 1]]', f"00-{TRACE}-b7ad6b7169203331-00"),
        (ARRAYS, "x" * 55),
    ],
    ids=["answered", "refused", "invalid"],
)
def test_a_request_is_logged_with_its_trace(
    ask: Ask, log: PredictionLog, lines: FakeLines, content: str, header: str
) -> None:
    ask("POST", "/predict", content=content, headers=JSON | {"traceparent": header})
    [(_, row)] = read_rows(log, lines)
    assert row.trace_id == (TRACE if TRACE in header else None)


def test_the_other_protocol_is_logged_as_well_with_the_id_in_its_body(
    ask: Ask, log: PredictionLog, lines: FakeLines
) -> None:
    response = ask("POST", "/v2/models/ships/infer", json=TENSORS)
    rows = read_rows(log, lines)
    assert {row.request_id for _, row in rows} == {response.headers["x-request-id"]}
    assert [(row.client_request_id, row.features, row.prediction) for _, row in rows] == [
        ("order-7", [1.0, "busan"], 110.0),
        ("order-7", [2.0, None], 20.0),
    ]
    assert rows[0][0].head.kinds == ["numeric", "categorical"]


def test_a_refused_request_is_logged_without_its_cells(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    response = ask("POST", "/predict", content='[["a secret", 1, 2, 3]]', headers=JSON)
    assert response.status_code == 422
    [(block, row)] = read_rows(log, lines)
    assert (block.head.variant, row.request_id) == ("refused", response.headers["x-request-id"])
    assert (row.features, row.prediction) == (None, None)
    assert b"secret" not in b"".join(lines.content)


def test_refused_bodies_leave_the_log_its_room_for_answers(ask: Ask, log: PredictionLog) -> None:
    body = b"[" + b" " * (MAX_BODY_BYTES - 2) + b"]"
    for _ in range(3):
        assert ask("POST", "/predict", content=body, headers=JSON).status_code == 422
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON).status_code == 200
    assert read_figures(log)["full"] == 0
    log.flush()
    assert read_figures(log) | {"logged": 1, "refusals": 3} == read_figures(log)


def test_objects_are_logged_in_the_order_of_the_features(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    names = ("petal_width", "petal_length", "sepal_width", "sepal_length")
    body = [dict(zip(names, (0.2, 1.4, 3.5, 5.1), strict=True))] * 2
    assert ask("POST", "/predict", content=json.dumps(body), headers=JSON).status_code == 200
    assert [row.features for _, row in read_rows(log, lines)] == [[5.1, 3.5, 1.4, 0.2]] * 2


@pytest.mark.parametrize("count", [2, 150])
@pytest.mark.parametrize("separator", [b",", b" , ", b",\n"], ids=["compact", "spaces", "lines"])
def test_rows_are_logged_as_they_came(
    ask: Ask, log: PredictionLog, lines: FakeLines, count: int, separator: bytes
) -> None:
    sent = [[5.1, 3, 1.4e0, number / 8] for number in range(count)]
    body = b"[" + separator.join(json.dumps(row).encode() for row in sent) + b"]\n"
    assert ask("POST", "/predict", content=body.removesuffix(b"\n"), headers=JSON).status_code == 200
    assert ask("POST", "/predict", content=body, headers=JSON).status_code == 200
    found = read_rows(log, lines)
    assert [row.features for _, row in found] == sent * 2
    assert [row.row for _, row in found] == [*range(count)] * 2
    assert {line.count(b"\n") for line in lines.content} == {1}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/models/nobody/predict", {"content": ARRAYS, "headers": JSON}),
        ("/models/housing/predict", {"content": ARRAYS, "headers": JSON}),
        ("/predict", {"content": ARRAYS, "headers": {"content-type": "text/plain"}}),
        ("/predict?probabilities=maybe", {"content": ARRAYS, "headers": JSON}),
    ],
    ids=["no-model", "no-version", "no-json", "query"],
)
def test_what_reaches_no_version_is_not_logged(
    ask: Ask, log: PredictionLog, lines: FakeLines, path: str, options: dict[str, object]
) -> None:
    assert ask("POST", path, **options).status_code >= 400
    assert read_rows(log, lines) == []


def test_traffic_that_claims_to_be_a_rollout_is_logged_as_such(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    ask("POST", "/predict", content=ARRAYS, headers=JSON | {"x-replay": "1"})
    [(block, _)] = read_rows(log, lines)
    assert block.head.traffic == "asked"


@pytest.mark.parametrize("content", [ARRAYS, '[["no number", 1, 1, 1]]'], ids=["answered", "refused"])
def test_the_probe_of_the_monitoring_is_not_logged(
    ask: Ask, log: PredictionLog, lines: FakeLines, content: str
) -> None:
    probe = JSON | {"x-pool-choice": "probe"}
    assert ask("POST", "/predict", content=content, headers=probe).status_code in {200, 400, 422}
    assert read_rows(log, lines) == []
    ask("POST", "/predict", content=content, headers=JSON)
    assert len(read_rows(log, lines)) == 1


def test_an_answer_does_not_depend_on_the_disk_of_the_log(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    before = ask("POST", "/predict", content=ARRAYS, headers=JSON).json()["predictions"]
    lines.error = OSError("No space left on device")
    log.flush()
    assert ask("POST", "/predict", content=ARRAYS, headers=JSON).json()["predictions"] == before


@pytest.mark.parametrize("rows", [1, 2, 150])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT32"])
def test_binary_rows_are_logged_as_their_json_would_be(
    ask: Ask, log: PredictionLog, lines: FakeLines, datatype: str, rows: int
) -> None:
    cells = [6.0, 2.0, 4.5, 1.5] if datatype != "INT32" else [6, 2, 4, 1]
    tensor = {"name": "rows", "shape": [rows, 4], "datatype": datatype}
    content = pack(datatype, cells * rows)
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(content)}}]}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    ask("POST", "/v2/models/iris/infer", content=head + content, headers=headers)
    ask("POST", "/v2/models/iris/infer", content=json.dumps({"inputs": [tensor | {"data": cells * rows}]}))
    logged = [(row.row, row.features, row.prediction, row.score) for _, row in read_rows(log, lines)]
    assert len(logged) == 2 * rows
    assert logged[:rows] == logged[rows:]


def test_a_missing_number_of_a_binary_row_is_logged_as_null(ask: Ask, log: PredictionLog, lines: FakeLines) -> None:
    content = pack("FP32", [5.1, float("nan"), 1.4, 0.2])
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(content)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    ask(
        "POST",
        "/v2/models/iris/infer",
        content=head + content,
        headers={"inference-header-content-length": str(len(head))},
    )
    [(_, row)] = read_rows(log, lines)
    assert row.features == [5.1, None, 1.4, 0.2]
