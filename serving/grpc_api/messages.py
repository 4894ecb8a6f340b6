"""The messages of the protocol's service over gRPC, built when this module is imported.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto. Protobuf
sends numbers, not names. So a nested message is written here beside the others, and a map is what it is on the wire: a
repeated message of key and value. A test compares each field with the stubs of another client.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

MESSAGES = {
    "Empty": (),
    "ServerLiveResponse": ("bool live 1",),
    "ServerReadyResponse": ("bool ready 1",),
    "ModelReadyRequest": ("string name 1", "string version 2"),
    "ModelReadyResponse": ("bool ready 1",),
    "ServerMetadataResponse": ("string name 1", "string version 2", "repeated string extensions 3"),
    "ModelMetadataRequest": ("string name 1", "string version 2"),
    "TensorMetadata": ("string name 1", "string datatype 2", "repeated int64 shape 3"),
    "ModelMetadataResponse": (
        *("string name 1", "repeated string versions 2", "string platform 3"),
        *("repeated TensorMetadata inputs 4", "repeated TensorMetadata outputs 5"),
    ),
    "InferParameter": ("bool bool_param 1", "int64 int64_param 2", "string string_param 3"),
    "ParametersEntry": ("string key 1", "InferParameter value 2"),
    "InferTensorContents": (
        *("repeated bool bool_contents 1", "repeated int32 int_contents 2", "repeated int64 int64_contents 3"),
        *("repeated uint32 uint_contents 4", "repeated uint64 uint64_contents 5", "repeated float fp32_contents 6"),
        *("repeated double fp64_contents 7", "repeated bytes bytes_contents 8"),
    ),
    "InferInputTensor": (
        *("string name 1", "string datatype 2", "repeated int64 shape 3"),
        *("repeated ParametersEntry parameters 4", "InferTensorContents contents 5"),
    ),
    "InferRequestedOutputTensor": ("string name 1", "repeated ParametersEntry parameters 2"),
    # The beginning of the next one: it names the model, and what it skips takes no memory.
    "ModelInferHead": ("string model_name 1", "string model_version 2"),
    "ModelInferRequest": (
        *("string model_name 1", "string model_version 2", "string id 3", "repeated ParametersEntry parameters 4"),
        *("repeated InferInputTensor inputs 5", "repeated InferRequestedOutputTensor outputs 6"),
        "repeated bytes raw_input_contents 7",
    ),
    "InferOutputTensor": (
        *("string name 1", "string datatype 2", "repeated int64 shape 3"),
        *("repeated ParametersEntry parameters 4", "InferTensorContents contents 5"),
    ),
    "ModelInferResponse": (
        *("string model_name 1", "string model_version 2", "string id 3", "repeated ParametersEntry parameters 4"),
        *("repeated InferOutputTensor outputs 5", "repeated bytes raw_output_contents 6"),
    ),
}
"""Each message's fields as `[repeated] type name number`."""


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="mlops_loop_inference.proto", package="inference", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            *repeated, kind, field_name, number = text.split()
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=int(number), label=label)
            if kind in MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".inference.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    return file


def _make_classes() -> dict[str, Any]:
    """The class of each message, from a pool of their own: another library may have the same names."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_describe())
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"inference.{name}")) for name in MESSAGES}


_CLASSES = _make_classes()

Empty = _CLASSES["Empty"]
ServerLiveResponse = _CLASSES["ServerLiveResponse"]
ServerReadyResponse = _CLASSES["ServerReadyResponse"]
ServerMetadataResponse = _CLASSES["ServerMetadataResponse"]
ModelReadyRequest = _CLASSES["ModelReadyRequest"]
ModelReadyResponse = _CLASSES["ModelReadyResponse"]
ModelMetadataRequest = _CLASSES["ModelMetadataRequest"]
ModelMetadataResponse = _CLASSES["ModelMetadataResponse"]
ModelInferHead = _CLASSES["ModelInferHead"]
ModelInferRequest = _CLASSES["ModelInferRequest"]
ModelInferResponse = _CLASSES["ModelInferResponse"]
