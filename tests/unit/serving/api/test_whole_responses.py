"""What the replica writes is what uvicorn would write, in one piece."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serving.api import bentoml_seam
from serving.api.bentoml_seam import send_whole

OWN = next(one for one in RequestResponseCycle.__mro__ if one.__module__.startswith("uvicorn"))
TYPE, LENGTH = (b"content-type", b"application/json"), (b"content-length", b"4")


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_closed = True


def make_cycle(
    kind: Any, *, method: str, keep_alive: bool, ends: list[int], transport: FakeTransport | None = None
) -> tuple[Any, FakeTransport]:
    transport = transport or FakeTransport()
    cycle = kind(
        scope={"type": "http", "method": method},
        transport=transport,
        flow=FlowControl(transport),  # type: ignore[arg-type]
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"Sun, 29 Nov 2026 16:00:00 GMT")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: ends.append(1),
    )
    return cycle, transport


def respond(
    kind: Any, headers: list[tuple[bytes, bytes]], parts: list[bytes], *, method: str, keep_alive: bool, status: int
) -> tuple[FakeTransport, bool, int, str]:
    ends: list[int] = []
    transport = FakeTransport()

    async def run() -> Any:
        cycle, _ = make_cycle(kind, method=method, keep_alive=keep_alive, ends=ends, transport=transport)
        await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts):
            more = number < len(parts) - 1
            await cycle.send({"type": "http.response.body", "body": part, "more_body": more})
        return cycle.response_complete and cycle.message_event.is_set()

    try:
        return transport, asyncio.run(run()), len(ends), ""
    except RuntimeError as error:
        return transport, False, len(ends), str(error)


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("status", [200, 422, 503])
@pytest.mark.parametrize(
    ("headers", "parts"),
    [
        ([TYPE, LENGTH, (b"x-model-version", b"7")], [b"body"]),
        ([TYPE, LENGTH, (b"Retry-After", b"1"), (b"location", b"../docs")], [b"body"]),
        ([TYPE], [b"body"]),
        ([TYPE, LENGTH], [b"bo", b"dy"]),
        ([TYPE, LENGTH, (b"connection", b"close")], [b"body"]),
        ([TYPE, (b"content-length", b"0")], [b""]),
        ([TYPE, (b"content-length", b"9")], [b"body"]),
        ([TYPE, LENGTH, (b"x-model-version", b"7\r\nset-cookie: a")], [b"body"]),
        ([TYPE, LENGTH, (b"x-model-version", b"7"), (b"x-model-version", b"8")], [b"body"]),
    ],
)
def test_a_response_is_the_one_of_uvicorn_in_one_write(
    headers: list[tuple[bytes, bytes]], parts: list[bytes], *, method: str, keep_alive: bool, status: int
) -> None:
    theirs, *expected = respond(OWN, headers, parts, method=method, keep_alive=keep_alive, status=status)
    ours, *found = respond(send_whole(OWN), headers, parts, method=method, keep_alive=keep_alive, status=status)
    assert found == expected
    assert b"".join(ours.written) == b"".join(theirs.written)
    assert ours.is_closed == theirs.is_closed
    assert len(ours.written) <= len(parts)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_response_is_sent_once_its_client_has_read_it(
    method: str, *, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it takes memory, and the request keeps its place in the bound of all of them."""
    monkeypatch.setattr(bentoml_seam, "LONGEST_READ_SECONDS", 600 if is_read else 0, raising=False)

    async def run() -> tuple[bool, FakeTransport]:
        cycle, transport = make_cycle(send_whole(OWN), method=method, keep_alive=True, ends=[])
        await cycle.send({"type": "http.response.start", "status": 200, "headers": [TYPE, LENGTH]})
        transport.write = lambda _: cycle.flow.pause_writing()  # type: ignore[method-assign]
        sent = asyncio.create_task(cycle.send({"type": "http.response.body", "body": b"body"}))
        await asyncio.sleep(0)
        was_sent = sent.done()
        if is_read:
            cycle.flow.resume_writing()
        await sent
        return was_sent, transport

    was_sent, transport = asyncio.run(run())
    assert not was_sent
    assert transport.is_closed != is_read
