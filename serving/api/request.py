"""Reads a request for a prediction, and picks the version that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import Receive

from serving.answering.served import ServedModel, Timer
from serving.answering.wire import JSON_WIRE, JsonWire, Wire
from serving.errors import RequestError
from serving.figures import LIVE
from serving.following.follower import Follower
from serving.limits import MAX_BODY_BYTES
from serving.quoting import shorten, show

JSON = b"application/json"
BINARY = b"application/octet-stream"

JSON_LENGTH = b"inference-header-content-length"
"""The header that says how many bytes of a body are JSON, where binary tensors follow."""

LONGEST_LENGTH = 10
"""Digits of that number."""

TRUTHS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(slots=True)
class Asked:
    """One request for a prediction, with what was read of it.

    `sender` is the address and the user of a request that the gateway drew for the canary pool; None for any other.
    `client_id` and `user` are what the client calls the request and its user; `traceparent` is the header of that name,
    and `gateway_id` the id that the gateway gave the request.
    `wire` is the form of a request of the Open Inference Protocol; None for /predict. `timer` measures the computing.
    """

    name: str
    version: str | None = None
    wire: Wire | None = None
    wants_challenger: bool = False
    traffic: str = LIVE
    sender: tuple[bytes, bytes] | None = None
    with_probabilities: bool = False
    body: bytes = b""
    held_bytes: int = 0
    client_id: bytes | None = None
    user: bytes | None = None
    traceparent: bytes | None = None
    gateway_id: bytes | None = None
    timer: Timer | None = None


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete, so it does not wait for a response."""


def check_content(headers: dict[bytes, bytes], *, is_inference: bool) -> None:
    """Checks that the body is JSON, or JSON with binary tensors behind it.

    Raises:
        RequestError: 415 for another content type or encoding.
    """
    # Clients of the protocol leave it out, as its requests are JSON by definition.
    media_type = headers.get(b"content-type", JSON if is_inference else b"")
    if media_type != JSON and (found_type := media_type.split(b";")[0].strip().lower()) != JSON:
        has_tensors = is_inference and JSON_LENGTH in headers
        if not has_tensors or found_type != BINARY:
            found = shorten(media_type.decode("latin-1")) or "none"
            beside = (
                "" if found_type != BINARY or not is_inference else ", or the header Inference-Header-Content-Length"
            )
            raise RequestError(415, f"content type: found {found}, expected application/json{beside}")
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        found = shorten(encoding.decode("latin-1"))
        raise RequestError(415, f"content encoding: found {found}, expected none; send the JSON as it is")


def choose_wire(headers: dict[bytes, bytes]) -> Wire:
    """The form of a request of the Open Inference Protocol over HTTP.

    Raises:
        RequestError: 400 where the length of its JSON is not a number.
    """
    length = headers.get(JSON_LENGTH)
    if length is None:
        return JSON_WIRE
    if not length.isdigit() or len(length) > LONGEST_LENGTH:
        found = show(length.decode("latin-1"), 20)
        raise RequestError(400, f"Inference-Header-Content-Length: found {found}, expected the bytes of the JSON")
    return JsonWire(int(length))


def read_query(query: bytes, *, is_inference: bool) -> bool:
    """Reads `?probabilities=`, the only parameter of /predict; the Open Inference Protocol has none.

    Raises:
        RequestError: 422 for another parameter, a second value, or a value that is neither true nor false.
    """
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    known = () if is_inference else ("probabilities",)
    for name, value in pairs:
        if name not in known:
            expected = " or ".join(known) or "none"
            raise RequestError(422, f"query: found the parameter {show(name, 100)}, expected {expected}")
        if value.lower() not in TRUTHS:
            raise RequestError(422, f"probabilities: found {show(value, 100)}, expected true or false")
    if len(pairs) > len(known):
        raise RequestError(422, "probabilities: found it more than once, expected it once")
    return bool(pairs) and TRUTHS[pairs[0][1].lower()]


def read_size(headers: dict[bytes, bytes]) -> int:
    """The size of the body that a request announces; the largest one where it announces none.

    Raises:
        RequestError: 413 for more than `MAX_BODY_BYTES`.
    """
    if b"transfer-encoding" in headers:
        return MAX_BODY_BYTES
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    return int(length)


async def read_body(receive: Receive) -> bytes:
    """Reads the body.

    Raises:
        RequestError: 413 for more than `MAX_BODY_BYTES`.
        ClientGoneError: the client closed its connection before the body was complete.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def pick_version(follower: Follower, name: str, version: str | None, *, wants_challenger: bool) -> ServedModel:
    """The version that answers.

    Raises:
        RequestError: 404 where the model or version does not exist, 503 where no version of the model can answer.
    """
    if not follower.is_allowed(name):
        raise RequestError(404, f"model: found {show(name)}, expected one that GET /models lists")
    served = follower.pick(name, wants_challenger=wants_challenger, version=version)
    if served is not None:
        return served
    if version is not None and follower.pick(name, wants_challenger=False):
        asked = show(version, 20)
        raise RequestError(404, f"model {name}: found version {asked} asked for, expected the one that serves")
    raise RequestError(503, f"model {name}: found no version that can answer, expected a champion; train one")


def _too_large() -> RequestError:
    return RequestError(413, f"body: found more than {MAX_BODY_BYTES} bytes, expected at most that; send it in parts")
