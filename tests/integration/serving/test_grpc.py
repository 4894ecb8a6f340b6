"""The Open Inference Protocol over gRPC, as a client speaks it that knows nothing of this project."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.integration.serving.replica import Replica, run_replica, store_models, wait_until
from tests.ports import free_port

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], dtype=np.float32)
MOST_MB = 120


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[Replica]:
    """A replica that serves gRPC too; the last test ends it."""
    folder = tmp_path_factory.mktemp("replica")
    more = {
        "SERVING_CATALOG_DIR": str(store_models(folder)),
        "SERVING_PREDICTION_LOG_DIR": str(folder / "prediction-log"),
        "SERVING_GRPC": "on",
        "SERVING_GRPC_PORT": str(grpc_port),
    }
    with run_replica(folder, "http://127.0.0.1:1", "nothing", **more) as replica:
        yield replica


@pytest.fixture(scope="module")
def client(replica: Replica, grpc_port: int) -> Iterator[triton.InferenceServerClient]:
    with closing(triton.InferenceServerClient(f"127.0.0.1:{grpc_port}")) as client:
        wait_until(lambda: is_alive(client), lambda: replica.log.read_text(errors="replace")[-3000:])
        yield client


def is_alive(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_live())
    except InferenceServerException:
        return False


def make_input(name: str, values: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return tensor.set_data_from_numpy(values)


def test_server_and_models_are_alive_and_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_ready()
    assert client.get_server_metadata().name == "mlops-loop"
    ready = [client.is_model_ready("iris"), client.is_model_ready("iris", "1"), client.is_model_ready("iris", "2")]
    assert ready == [True, True, False]
    assert not client.is_model_ready("stranger")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_rows_have_the_answer_of_rest(client: triton.InferenceServerClient, replica: Replica, dtype: type) -> None:
    flowers = FLOWERS.astype(dtype)
    found = client.infer("iris", [make_input("rows", flowers)], model_version="1", request_id="mine")
    assert (found.get_response().id, found.get_response().model_version) == ("mine", "1")
    with closing(triton_http.InferenceServerClient(replica.url.removeprefix("http://"))) as rest:
        tensor = triton_http.InferInput("rows", [2, 4], np_to_triton_dtype(flowers.dtype))
        expected = rest.infer("iris", [tensor.set_data_from_numpy(flowers)])
    for name in ("predictions", "probabilities"):
        assert (found.as_numpy(name) == expected.as_numpy(name)).all()


def test_metadata_is_enough_to_ask(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("ships")
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
        ("size", "FP32", [-1, 1]),
        ("port", "BYTES", [-1, 1]),
    ]
    size = make_input("size", np.array([[2.0], [3.0]], dtype=np.float32))
    port = make_input("port", np.array([["busan"], [""]], dtype=object))
    outputs = [triton.InferRequestedOutput(one.name) for one in metadata.outputs]
    assert client.infer("ships", [size, port], outputs=outputs).as_numpy("predictions").tolist() == [120, 30]


@pytest.mark.parametrize(
    ("model", "values", "code", "problem"),
    [
        ("iris", FLOWERS[:, :3], "INVALID_ARGUMENT", r"found the shape \[2, 3\], expected \[rows, 4\]"),
        ("iris", FLOWERS.astype(str).astype(object), "INVALID_ARGUMENT", "found the text '5.1', expected a number"),
        ("iris", np.full((1, 4), np.inf, np.float32), "INVALID_ARGUMENT", "row 0 sepal_length: found inf"),
        ("iris", np.zeros((10_001, 4), np.float32), "INVALID_ARGUMENT", "found 10001 rows, expected at most 10000"),
        ("iris", np.zeros((80_000, 4), np.float32), "RESOURCE_EXHAUSTED", "larger than max"),
        ("stranger", FLOWERS, "NOT_FOUND", "expected one that GET /models lists"),
    ],
    ids=["shape", "type", "infinite", "rows", "bytes", "name"],
)
def test_an_error_says_what_was_expected(
    client: triton.InferenceServerClient, model: str, values: np.ndarray, code: str, problem: str
) -> None:
    with pytest.raises(InferenceServerException, match=problem) as caught:
        client.infer(model, [make_input("rows", values)])
    assert caught.value.status() == f"StatusCode.{code}"


def test_a_replica_with_grpc_stays_within_its_memory(client: triton.InferenceServerClient, replica: Replica) -> None:
    for _ in range(200):
        client.infer("iris", [make_input("rows", FLOWERS)])
    with open(f"/proc/{replica.process_id}/smaps_rollup") as file:
        pss = next(line for line in file if line.startswith("Pss:"))
    assert int(pss.split()[1]) / 1000 < MOST_MB


def test_a_call_of_a_replica_that_is_killed_is_unavailable_and_not_lost(
    client: triton.InferenceServerClient, replica: Replica
) -> None:
    """SIGSTOP keeps the call from its answer, so that the kill comes in its middle."""
    os.kill(replica.process_id, signal.SIGSTOP)
    answers: list[Exception | None] = []
    call = client.async_infer("iris", [make_input("rows", FLOWERS)], lambda result, error: answers.append(error))
    assert call is not None
    os.kill(replica.process_id, signal.SIGKILL)
    wait_until(lambda: bool(answers), lambda: "no answer")
    error = answers[0]
    assert isinstance(error, InferenceServerException)
    assert error.status() == str(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(httpx.TransportError):
        httpx.get(replica.url)
