"""The Open Inference Protocol as a client speaks it that knows nothing of this project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.integration.serving.replica import Replica

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], dtype=np.float32)
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@pytest.fixture
def client(lone_replica: Replica) -> Iterator[triton.InferenceServerClient]:
    with closing(triton.InferenceServerClient(lone_replica.url.removeprefix("http://"))) as client:
        yield client


def make_input(name: str, values: np.ndarray, datatype: str, *, is_binary: bool = False) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=is_binary)


def test_server_and_models_are_alive_and_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "mlops-loop"
    ready = [client.is_model_ready("iris"), client.is_model_ready("iris", "1"), client.is_model_ready("iris", "2")]
    assert ready == [True, True, False]
    assert not client.is_model_ready("stranger")


def test_metadata_is_enough_to_ask(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("iris", "1")
    columns = {entry["name"]: FLOWERS[:, [i]] for i, entry in enumerate(metadata["inputs"])}
    inputs = [make_input(entry["name"], columns[entry["name"]], entry["datatype"]) for entry in metadata["inputs"]]
    outputs = [triton.InferRequestedOutput(entry["name"]) for entry in metadata["outputs"]]
    answer = client.infer("iris", inputs, outputs=outputs, request_id="mine")
    assert answer.get_response()["id"] == "mine"
    assert answer.as_numpy("predictions").tolist() == [0, 1]
    assert answer.as_numpy("probabilities").sum(axis=1) == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize(("dtype", "datatype"), [(np.float32, "FP32"), (np.float64, "FP64"), (np.int64, "INT64")])
def test_rows_as_one_tensor_of_any_number_type(
    client: triton.InferenceServerClient, dtype: type, datatype: str
) -> None:
    answer = client.infer("iris", [make_input("rows", FLOWERS.astype(dtype), datatype)], model_version="1")
    assert answer.get_response()["model_version"] == "1"
    assert answer.as_numpy("predictions").dtype == np.int64
    assert answer.as_numpy("predictions").tolist() == [0, 1]


def test_texts_and_numbers_side_by_side(client: triton.InferenceServerClient) -> None:
    inputs = [
        make_input("size", np.array([[2.0], [3.0]], dtype=np.float32), "FP32"),
        make_input("port", np.array([["busan"], [""]], dtype=object), "BYTES"),
    ]
    assert client.infer("ships", inputs).as_numpy("predictions").tolist() == [120, 30]


@pytest.mark.parametrize(
    ("model", "version", "name", "problem"),
    [
        ("iris", "2", "rows", "expected the one that serves"),
        ("stranger", "", "rows", "expected one that GET /models lists"),
        ("ships", "", "rows", "expected one for each of"),
    ],
)
def test_an_error_says_what_was_expected(
    client: triton.InferenceServerClient, model: str, version: str, name: str, problem: str
) -> None:
    with pytest.raises(InferenceServerException, match=problem):
        client.infer(model, [make_input(name, FLOWERS, "FP32")], model_version=version)


@pytest.mark.parametrize("are_outputs_binary", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_binary_tensors_have_the_answers_of_json(
    client: triton.InferenceServerClient, dtype: type, are_outputs_binary: bool
) -> None:
    flowers = FLOWERS.astype(dtype)
    datatype = np_to_triton_dtype(dtype)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=are_outputs_binary) for name in ("probabilities", "predictions")
    ]
    found = [
        client.infer("iris", [make_input("rows", flowers, datatype, is_binary=is_binary)], outputs=outputs)
        for is_binary in (True, False)
    ]
    for name in ("predictions", "probabilities"):
        assert (found[0].as_numpy(name) == found[1].as_numpy(name)).all()
    is_data_binary = "binary_data_size" in str(found[0].get_response())
    assert is_data_binary == are_outputs_binary


def test_binary_texts_and_numbers_side_by_side(client: triton.InferenceServerClient) -> None:
    inputs = [
        make_input("size", np.array([[2.0], [np.nan]], dtype=np.float32), "FP32", is_binary=True),
        make_input("port", np.array([["busan"], [""]], dtype=object), "BYTES", is_binary=True),
    ]
    assert client.infer("ships", inputs).as_numpy("predictions")[0] == 120


def test_a_binary_tensor_of_another_size_is_refused(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("rows", [3, 4], "FP32")
    tensor._raw_data = FLOWERS.tobytes()
    tensor._parameters["binary_data_size"] = len(tensor._raw_data)
    with pytest.raises(InferenceServerException, match="found 32 bytes, expected 48: 12 cells of FP32"):
        client.infer("iris", [tensor])
