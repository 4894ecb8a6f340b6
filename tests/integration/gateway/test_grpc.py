"""Calls over gRPC through the gateway's one port, with a token, to a real replica."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.integration.gateway.containers import Fleet, docker, wait_until
from tests.integration.serving.replica import run_replica, store_models
from tests.ports import free_port
from tests.processes import run_process

TOKEN = secrets.token_hex(16)
BEARER = {"authorization": f"Bearer {TOKEN}"}
FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], dtype=np.float32)


@pytest.fixture(scope="module")
def replica_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The gRPC of a replica on loopback, behind a socket that containers can open."""
    folder, port = tmp_path_factory.mktemp("replica"), free_port()
    more = {
        "SERVING_CATALOG_DIR": str(store_models(folder)),
        "SERVING_GRPC": "on",
        "SERVING_GRPC_PORT": str(port),
    }
    # The path of a socket has at most a hundred characters.
    with tempfile.TemporaryDirectory() as short, run_replica(folder, "http://127.0.0.1:1", "nothing", **more):
        path = Path(short) / "calls"
        forwarder = [sys.executable, str(Path(__file__).with_name("forwarder.py")), str(path), str(port)]
        with run_process(forwarder, folder / "forwarder.log"):
            wait_until(path.exists, "the forwarder listens")
            yield path


@pytest.fixture(scope="module")
def fleet_of_calls(replica_socket: Path) -> Iterator[Fleet]:
    fleet = Fleet()
    try:
        fleet.start_replica("serving", "one")
        fleet.start_forwarder("serving-canary", replica_socket, 3001)
        tokens = {"GATEWAY_TOKENS": f"client:{TOKEN}", "GATEWAY_ROLLOUT_TOKEN": secrets.token_hex(16)}
        fleet.start_gateway(GRPC="on", CANARY_PERCENT="0", **tokens)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def address(fleet_of_calls: Fleet) -> str:
    return docker("port", fleet_of_calls.gateway, "8000")


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with closing(triton.InferenceServerClient(address)) as client:
        wait_until(lambda: is_answered(client), "the replica answers")
        yield client


def is_answered(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(headers=BEARER))
    except InferenceServerException:
        return False


def make_input(values: np.ndarray) -> list[triton.InferInput]:
    return [triton.InferInput("rows", list(values.shape), "FP32").set_data_from_numpy(values)]


def fail(client: triton.InferenceServerClient, values: np.ndarray = FLOWERS, **headers: str) -> tuple[str, str]:
    """The code and the text of a call that fails."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer("iris", make_input(values), headers=headers)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_a_call_is_answered_by_a_replica(client: triton.InferenceServerClient) -> None:
    """By one of the other pool: in the stable one no replica takes the connection."""
    answer = client.infer("iris", make_input(FLOWERS), headers=BEARER)
    assert answer.as_numpy("predictions").tolist() == [0, 1]
    many = np.tile(FLOWERS, (5_000, 1))
    assert client.infer("iris", make_input(many), headers=BEARER).as_numpy("predictions").shape == (10_000,)


def test_rest_is_at_the_same_port(client: triton.InferenceServerClient, address: str) -> None:
    assert client.is_server_live(headers=BEARER)
    assert httpx.post(f"http://{address}/predict", json=[[1]], headers=BEARER).json()["replica"] == "one"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer " + "0" * 32}], ids=["none", "another"])
def test_a_call_without_a_token_is_refused_in_words(
    client: triton.InferenceServerClient, headers: dict[str, str]
) -> None:
    code, text = fail(client, **headers)
    assert code == "UNAUTHENTICATED"
    assert text == "predictions need a token; send the header Authorization: Bearer TOKEN"


def test_a_replicas_own_error_comes_through(client: triton.InferenceServerClient) -> None:
    code, text = fail(client, FLOWERS[:, :3], **BEARER)
    assert code == "INVALID_ARGUMENT"
    assert "found the shape [2, 3], expected [rows, 4]" in text


def test_a_message_over_one_megabyte_is_refused(client: triton.InferenceServerClient) -> None:
    """By the replica, which reads its length first, or by the gateway, which counts its bytes."""
    code, text = fail(client, np.zeros((100_000, 4), np.float32), **BEARER)
    assert code == "RESOURCE_EXHAUSTED"
    assert "large" in text


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("POST", {"content-type": "application/json"}, 200, "3"),
        ("GET", {"content-type": "application/grpc"}, 200, "12"),
    ],
    ids=["JSON", "GET"],
)
def test_another_request_gets_the_error_of_a_call(  # noqa: PLR0917  one argument per column of the table
    client: triton.InferenceServerClient, address: str, method: str, headers: dict[str, str], status: int, code: str
) -> None:
    url = f"http://{address}/inference.GRPCInferenceService/ModelInfer"
    answer = httpx.request(method, url, headers=headers | BEARER)
    assert (answer.status_code, answer.headers["grpc-status"]) == (status, code)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def open_bodies(address: str, count: int) -> bytes:
    """Begins predictions over HTTP/2 whose bodies have no length and do not end; returns what comes back at once."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": b"/predict", b":authority": b"localhost"}
    fields |= {b"content-type": b"application/json", b"authorization": BEARER["authorization"].encode()}
    # Literals that no table holds: https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2
    head = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields.items())
    begun = b"".join(frame(1, 4, stream, head) + frame(0, 0, stream, b"[") for stream in range(1, 2 * count, 2))
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + begun)
        time.sleep(2)
        return connection.recv(1_000_000)


def test_bodies_without_a_length_over_http_2_are_counted_as_large_ones(
    client: triton.InferenceServerClient, address: str
) -> None:
    assert client.is_server_live(headers=BEARER)
    assert open_bodies(address, 32).count(b"too many requests of this size") == 0
    assert open_bodies(address, 40).count(b"too many requests of this size") == 8


def test_without_a_replica_a_call_is_unavailable_at_once(
    client: triton.InferenceServerClient, fleet_of_calls: Fleet
) -> None:
    docker("kill", fleet_of_calls._containers[1])
    wait_until(lambda: not is_answered(client), "the replica has gone")
    code, text = fail(client, **BEARER)
    assert code == "UNAVAILABLE"
    assert text.startswith("no replica answers; try again in some seconds")
