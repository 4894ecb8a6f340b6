"""Requests as bytes that no client library sends: valid ones, changed at random places; and the statuses they get."""

from __future__ import annotations

import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from random import Random

FIRST_SECONDS = 3.0
REST_SECONDS = 0.2
SENDERS = 12

BODIES = [
    b"[[5.1,3.5,1.4,0.2]]",
    b'[{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":null}]',
    b'{"inputs":[{"name":"rows","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}],"outputs":[{"name":"predictions"}]}',
    b'[["\\ud800",1e999,-0.0,0.2]]',
    b"[" * 100_000,
    b"[" + b"[1,2,3,4]," * 9_999 + b"[1,2,3,4]]",
    b"[[" + b"9" * 5_000 + b",1,2,3]]",
    b"\xff\xfe[[1,2,3,4]]",
    b"[[NaN,Infinity,1,2]]",
    b"",
]
LINES = [
    b"POST /predict HTTP/1.1",
    b"POST /predict?probabilities=true HTTP/1.1",
    b"POST /models/iris/predict HTTP/1.1",
    b"POST /v2/models/iris/infer HTTP/1.1",
    b"POST /v2/models/iris/versions/1/infer HTTP/1.1",
    b"GET /models HTTP/1.1",
    b"GET /v2/models/iris HTTP/1.1",
    b"GET /openapi.json HTTP/1.1",
    b"GET /docs/../models/%2e%2e/%00 HTTP/1.1",
    b"GET http://elsewhere/models HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"POST /predict HTTP/1.0",
    b"GET /",
    b"PRI * HTTP/2.0",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\x00",
    b"\r\nContent-Length: 5",
    b"\r\nContent-Length: -1",
    b"\r\nContent-Length: +19",
    b"\r\nContent-Length: 99999999999999999999",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: gzip, chunked",
    b"\r\nTransfer-Encoding : chunked",
    b"\r\nContent-Encoding: gzip",
    b"\r\nExpect: 100-continue",
    b"\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    b"\r\nHost: other\r\nHost: another",
    b"\r\nX-User-Id: " + b"u" * 9_000,
    b"\r\nX-Variant: canary\r\nX-Replay: 1\r\nX-Pool: canary",
    b"\r\nCookie: " + b"a=b; " * 500,
    b"\r\nRange: bytes=0-1,2-3,-",
    b"%00%ff%2e%2e%5c",
    b"/" + b"a" * 9_000,
    b"?probabilities=1&probabilities=0",
    b"\r\n 0;x=" + b"y" * 2_000,
    "\u2028\U0001f600é".encode(),
]


def make_request(random: Random, headers: bytes = b"") -> bytes:
    """One request; the same random state makes the same one."""
    body = random.choice(BODIES)
    head = random.choice(LINES) + b"\r\nHost: stack\r\n" + headers + b"Content-Type: application/json\r\n"
    if random.random() < 0.3:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _split(random, body) if part) + b"0\r\n\r\n"
        head += b"Transfer-Encoding: chunked\r\n"
    else:
        head += b"Content-Length: %d\r\n" % len(body)
    request = head + b"\r\n" + body
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        request = random.choice(CHANGES)(random, request)
    return request


def send(address: tuple[str, int], request: bytes, context: ssl.SSLContext | None = None) -> list[int]:
    """Sends bytes on a connection of their own, and returns the status of each response; none where none came soon."""
    found = b""
    with suppress(OSError), ExitStack() as opened:
        connection = opened.enter_context(socket.create_connection(address, timeout=FIRST_SECONDS))
        if context is not None:
            connection = opened.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        with suppress(OSError):  # a server may refuse a request before all of it has arrived
            connection.sendall(request)
        while part := connection.recv(1 << 16):
            found += part
            connection.settimeout(REST_SECONDS)
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", found)]


def send_many(
    address: tuple[str, int], seeds: Iterable[int], context: ssl.SSLContext | None = None, *, headers: bytes = b""
) -> dict[int, list[int]]:
    """The statuses of the requests of many seeds; `headers` are added to each."""

    def send_one(seed: int) -> list[int]:
        return send(address, make_request(Random(seed), headers), context)

    seeds = list(seeds)
    with ThreadPoolExecutor(SENDERS) as pool:
        return dict(zip(seeds, pool.map(send_one, seeds), strict=True))


def check_statuses(found: dict[int, list[int]]) -> None:
    """Checks that no request got a status of 500 or more, and that the requests reached what they are to reach."""
    failed = [seed for seed, statuses in found.items() if max(statuses, default=0) >= 500]
    assert not failed, {seed: (found[seed], make_request(Random(seed))[:300]) for seed in failed[:5]}
    counts = Counter(status for statuses in found.values() for status in statuses)
    silent = sum(not statuses for statuses in found.values())
    print(f"{len(found)} requests, {silent} without a response: {dict(sorted(counts.items()))}")
    assert {200, 400} <= set(counts)
    assert sum(counts.values()) > len(found) / 2


def _split(random: Random, body: bytes) -> tuple[bytes, bytes]:
    place = random.randrange(len(body) + 1)
    return body[:place], body[place:]


def _place(random: Random, request: bytes) -> int:
    """A place, more often in the head."""
    end = request.find(b"\r\n\r\n") if random.random() < 0.7 else len(request)
    return random.randrange(max(end, 1))


def _insert(random: Random, request: bytes) -> bytes:
    place = _place(random, request)
    return request[:place] + random.choice(PIECES) + request[place:]


def _insert_header(random: Random, request: bytes) -> bytes:
    ends = [match.start() for match in re.finditer(b"\r\n", request[:2_000])] or [0]
    place = random.choice(ends)
    return request[:place] + random.choice(PIECES) + request[place:]


def _overwrite(random: Random, request: bytes) -> bytes:
    place = _place(random, request)
    return request[:place] + random.randbytes(random.randrange(1, 9)) + request[place + 4 :]


def _drop(random: Random, request: bytes) -> bytes:
    place = _place(random, request)
    return request[:place] + request[place + random.randrange(1, 40) :]


def _cut(random: Random, request: bytes) -> bytes:
    return request[: _place(random, request)]


def _repeat(random: Random, request: bytes) -> bytes:
    return request * random.randrange(2, 4)


CHANGES: list[Callable[[Random, bytes], bytes]] = [
    _insert,
    _insert_header,
    _insert_header,
    _overwrite,
    _drop,
    _cut,
    _repeat,
]
