"""The messages are those of the protocol, as another client has them."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from serving.grpc_api.messages import MESSAGES, Empty, ModelInferRequest, ModelInferResponse, ModelMetadataResponse

OURS = ModelInferRequest.DESCRIPTOR.file.message_types_by_name
NESTED = {
    "InferInputTensor": "ModelInferRequest",
    "InferRequestedOutputTensor": "ModelInferRequest",
    "InferOutputTensor": "ModelInferResponse",
    "TensorMetadata": "ModelMetadataResponse",
    "ParametersEntry": "ModelInferRequest",
}


def find_theirs(name: str) -> Any:
    if name in NESTED:
        return getattr(service_pb2, NESTED[name]).DESCRIPTOR.nested_types_by_name[name]
    return getattr(service_pb2, name.replace("Head", "Request")).DESCRIPTOR


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "Empty"])
def test_each_field_has_the_number_and_the_type_of_the_protocol(name: str) -> None:
    theirs = {field.name: field for field in find_theirs(name).fields}
    for field in OURS[name].fields:
        other = theirs[field.name]
        found = (field.number, field.type, field.is_repeated, field.is_packed)
        assert found == (other.number, other.type, other.is_repeated, other.is_packed), field.name


def test_requests_without_fields_are_empty() -> None:
    for name in ("ServerLiveRequest", "ServerReadyRequest", "ServerMetadataRequest"):
        assert not getattr(service_pb2, name).DESCRIPTOR.fields
    assert not Empty.DESCRIPTOR.fields


def test_a_map_of_the_protocol_is_read_and_written() -> None:
    theirs = service_pb2.ModelInferRequest(model_name="iris")
    theirs.parameters["priority"].int64_param = 3
    ours = ModelInferRequest.FromString(theirs.SerializeToString())
    assert [(entry.key, entry.value.int64_param) for entry in ours.parameters] == [("priority", 3)]
    answer = ModelInferResponse()
    answer.parameters.add(key="warnings", value={"string_param": "[]"})
    read = service_pb2.ModelInferResponse.FromString(answer.SerializeToString())
    assert read.parameters["warnings"].string_param == "[]"


def test_metadata_is_what_another_client_reads() -> None:
    ours = ModelMetadataResponse(
        name="iris", versions=["7"], inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]
    )
    theirs = service_pb2.ModelMetadataResponse.FromString(ours.SerializeToString())
    assert (theirs.name, list(theirs.versions), list(theirs.inputs[0].shape)) == ("iris", ["7"], [-1, 1])
