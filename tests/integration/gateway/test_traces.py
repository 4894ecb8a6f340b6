"""The trace of a request: taken from the client where it is valid, else made; told to the replica, and logged."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, read_log, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"

PATHS = ("/predict", "/models/iris/predict", "/v2/models/iris/infer", "/feedback")


def send(gateway: httpx.Client, *headers: tuple[str, str], path: str = "/predict") -> dict[str, str]:
    """The headers that the replica got."""
    answer = gateway.post(path, json=ROWS, headers=list(headers))
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()["headers"]
    return found


def find_line(fleet: Fleet, gateway_id: str) -> dict[str, Any]:
    """The line of the gateway's log about a request; they are written once in a second."""

    def find() -> list[dict[str, Any]]:
        lines = [line for line in read_log(fleet.gateway).splitlines() if line.startswith("{")]
        return [found for found in map(json.loads, lines) if found["gateway_id"] == gateway_id]

    wait_until(lambda: bool(find()), "the log has the request")
    return find()[0]


@pytest.mark.parametrize("path", PATHS)
def test_a_client_s_trace_goes_on_to_the_replica_and_into_the_log(
    full_fleet: Fleet, gateway: httpx.Client, path: str
) -> None:
    sent = send(gateway, ("traceparent", VALID), ("tracestate", "vendor=1"), path=path)
    assert sent["traceparent"] == VALID
    assert "tracestate" not in sent
    line = find_line(full_fleet, sent["x-request-id"])
    assert (line["trace_id"], line["level"], line["logger"]) == (TRACE, "info", "gateway")
    assert (line["message"], line["version"]) == (f"POST {path} 200", "7")


def test_a_trace_of_a_later_version_goes_on_as_what_this_one_knows_of_it(gateway: httpx.Client) -> None:
    for header in (f"cc-{TRACE}-{SPAN}-01-more", f"01-{TRACE}-{SPAN}-01"):
        assert send(gateway, ("traceparent", header))["traceparent"] == VALID


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "")],
        [("traceparent", VALID.upper())],
        [("traceparent", f"{VALID}-more")],
        [("traceparent", f"ff-{TRACE}-{SPAN}-01")],
        [("traceparent", f"00-{'0' * 32}-{SPAN}-01")],
        [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
        [("traceparent", f"00-{TRACE[:-1]}-{SPAN}-01")],
        [("traceparent", f"00-{TRACE}-{SPAN}-01\t{SPAN}")],
        [("traceparent", f'00-{TRACE[:-1]}"-{SPAN}-01')],
        [("traceparent", VALID), ("traceparent", f"00-{TRACE}-{SPAN}-00")],
        [("traceparent", "x" * 6000)],
        [("traceparent", f"00-{TRACE}-{SPAN}-01" * 100)],
    ],
    ids=lambda headers: " ".join(value[:40] for _, value in headers) or "none",
)
def test_any_other_header_is_replaced_by_a_trace_of_the_gateway(
    full_fleet: Fleet, gateway: httpx.Client, headers: list[tuple[str, str]]
) -> None:
    sent = send(gateway, *headers)
    gateway_id = sent["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", gateway_id)
    assert sent["traceparent"] == f"00-{gateway_id}-{gateway_id[:16]}-00"
    line = find_line(full_fleet, gateway_id)
    assert (line["trace_id"], line["request_id"]) == (gateway_id, gateway_id)
    assert len(json.dumps(line)) < 1000, "a stranger's header is not in the log"


def test_an_error_of_the_gateway_is_logged_under_the_client_s_trace(full_fleet: Fleet, gateway: httpx.Client) -> None:
    refused = gateway.get("/predict", headers={"traceparent": VALID})
    assert refused.status_code == 405
    line = find_line(full_fleet, refused.json()["request_id"])
    assert (line["trace_id"], line["request_id"], line["status"]) == (TRACE, refused.json()["request_id"], 405)


def test_tries_of_one_request_have_one_trace(fleet: Fleet) -> None:
    """A replica that ends without an answer and the one that answers instead were both told it."""
    for name in ("one", "two"):
        fleet.start_replica("serving", name, status=503)
    fleet.start_replica("serving-canary", "three")
    with httpx.Client(base_url=fleet.start_gateway(CANARY_PERCENT="0")) as client:
        wait_until(lambda: client.post("/predict", json=ROWS).status_code == 200, "the canary answers")
        sent = send(client, ("traceparent", VALID))
    assert sent["traceparent"] == VALID
    assert find_line(fleet, sent["x-request-id"])["trace_id"] == TRACE
