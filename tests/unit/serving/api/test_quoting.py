"""No response mirrors more than 200 characters of what a client sent, whatever the place and the protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.quoting import MAX_QUOTED, Quotes, list_names, shorten
from tests.unit.serving.app_client import ARRAYS, JSON, Ask
from tests.unit.serving.onnx_files import describe_training, make_classifier, make_mixed_regressor

MARK = "가"
"""A letter that no message and no name of a model has."""

CELLS = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(params=["warn", "refuse"])
def contents(request: pytest.FixtureRequest) -> dict[str, bytes]:
    port = {"categories": ["busan"], "has_missing": False}
    ships = describe_training(make_mixed_regressor(), unknown=request.param, port=port)
    return {"iris": make_classifier(), "ships": ships}


def post(path: str, body: Any = ARRAYS, **headers: str) -> tuple[str, str, Any, dict[str, str]]:
    return "POST", path, body if isinstance(body, str) else json.dumps(body), JSON | headers


def infer(*inputs: Any, model: str = "iris", **more: Any) -> tuple[str, str, Any, dict[str, str]]:
    return post(f"/v2/models/{model}/infer", {"inputs": list(inputs), **more})


def tensor(data: list[Any] = CELLS, name: str = "rows", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1, 4], "datatype": "FP32", "data": data} | more


def latin(text: str) -> str:
    return "\xe9" * len(text)


PLACES: dict[str, Callable[[str], tuple[str, str, Any, dict[str, str]]]] = {
    "path": lambda text: ("GET", f"/{quote(text)}", None, {}),
    "path of the protocol": lambda text: ("GET", f"/v2/{quote(text)}", None, {}),
    "file of the docs": lambda text: ("GET", f"/docs/assets/{quote(text)}", None, {}),
    "model": lambda text: post(f"/models/{quote(text)}/predict"),
    "model of the protocol": lambda text: post(f"/v2/models/{quote(text)}/infer"),
    "described model": lambda text: ("GET", f"/v2/models/{quote(text)}", None, {}),
    "version": lambda text: post(f"/v2/models/iris/versions/{quote(text)}/infer", {"inputs": [tensor()]}),
    "described version": lambda text: ("GET", f"/v2/models/iris/versions/{quote(text)}", None, {}),
    "method": lambda text: (f"X{'Z' * len(text)}", "/predict", None, {}),
    "method of a page": lambda text: (f"X{'Z' * len(text)}", "/models", None, {}),
    "query": lambda text: post(f"/predict?{quote(text)}=1"),
    "query of the protocol": lambda text: post(f"/v2/models/iris/infer?{quote(text)}=1"),
    "value of the query": lambda text: post(f"/predict?probabilities={quote(text)}"),
    "content type": lambda text: post("/predict", **{"content-type": latin(text)}),
    "content encoding": lambda text: post("/predict", **{"content-encoding": latin(text)}),
    "request id": lambda text: post("/predict", "[", **{"x-request-id": latin(text), "x-pool": latin(text)}),
    "body": lambda text: post("/predict", text),
    "body as a text": lambda text: post("/predict", json.dumps(text)),
    "row": lambda text: post("/predict", [text] * 30),
    "number": lambda text: post("/predict", [[text] * 4] * 30),
    "numbers as JSON": lambda text: post("/predict", f"[[{'9' * len(text)},1,1,1]]"),
    "field": lambda text: post("/predict", [{f"{number}{text}": 1 for number in range(30)}]),
    "category": lambda text: post("/models/ships/predict", [[1, text]] * 30),
    "categories": lambda text: post("/models/ships/predict", [[1, f"{n}{text[:40]}"] for n in range(30)]),
    "category of the protocol": lambda text: infer(
        tensor([1] * 30, "size", shape=[30]), tensor([text] * 30, "port", shape=[30], datatype="BYTES"), model="ships"
    ),
    "tensor": lambda text: infer(tensor(name=text), tensor(name=text)),
    "tensor of another shape": lambda text: infer(tensor(name=text, shape=[4])),
    "tensor of another datatype": lambda text: infer(tensor(name=text, datatype=text)),
    "tensor without data": lambda text: infer(tensor(name=text, data=text)),
    "tensor of a wrong shape": lambda text: infer(tensor(name=text, shape=text)),
    "tensor of few values": lambda text: infer(tensor(name=text, data=[1])),
    "value of a tensor": lambda text: infer(tensor(name=text, data=[text] * 4)),
    "output": lambda text: infer(tensor(), outputs=[{"name": text}, {"name": [text]}]),
    "id of the protocol": lambda text: infer(tensor(), id=text),
}


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(length=st.integers(MAX_QUOTED + 1, 3000))
def test_no_response_mirrors_more_than_is_readable(ask: Ask, place: str, length: int) -> None:
    text = MARK * length
    method, path, body, headers = PLACES[place](text)
    answer = ask(method, path, content=body, headers={name: value.encode("latin-1") for name, value in headers.items()})
    assert place in {"category", "categories", "category of the protocol", "request id"} or answer.status_code >= 400
    sent = answer.text + "".join(f"{name}{value}" for name, value in answer.headers.items())
    for mark in (MARK, quote(MARK)[:3], "\xe9", "Z", "9" * 30):
        assert sent.count(mark) <= MAX_QUOTED


@pytest.mark.parametrize("length", [MAX_QUOTED - 1, MAX_QUOTED, MAX_QUOTED + 1])
def test_a_text_is_shortened_to_the_limit(length: int) -> None:
    text = "a" * length
    assert shorten(text) == (text if length <= MAX_QUOTED else "a" * (MAX_QUOTED - 3) + "...")


def test_a_shortened_list_says_how_many_there_are() -> None:
    assert list_names(["a", "b"]) == "a, b"
    assert list_names(["name"] * 100).endswith("... (100 in all)")


def test_the_quotations_of_a_response_share_the_limit() -> None:
    quotes = Quotes()
    described = [quotes.describe("a" * 60) for _ in range(6)]
    assert described[0] == f"the text '{'a' * 47}...'"
    assert described[4:] == ["a text", "a text"]
    assert [Quotes().describe(value) for value in (None, True, 1e39, [], {})] == [
        "null",
        "true",
        "the number 1e+39",
        "an array",
        "an object",
    ]
