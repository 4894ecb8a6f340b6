"""A hundred odd files: each is refused by an error of this project, or answers as it did before."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ml_code.errors import MlopsError, ModelFileError
from ml_code.gate.imported_model import adapt
from ml_code.gate.imports.foreign_file import read_file
from ml_code.model_file.onnx_model import BareModel, OnnxModel, shorten
from tests.unit.ml_code.gate.imports.foreign import fit, make_graph, make_rows, make_sigmoid, make_sums, split

BLOCK = 10


def make_plain() -> onnx.ModelProto:
    return fit(make_rows())[1]


def register(content: bytes, folder: Path) -> OnnxModel:
    """Does with a file what the command does before MLflow."""
    path = folder / "file.onnx"
    path.write_bytes(content)
    dataset, _, rows = split(make_rows(), None, onnx.ModelProto())
    return OnnxModel(adapt(dataset, read_file(path), rows, str(path)))


@pytest.mark.parametrize("seed", range(6))
def test_broken_bytes_never_end_in_a_traceback(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    whole = make_plain().SerializeToString()
    contents = [whole[: draw.randrange(len(whole))] for _ in range(BLOCK)] + [draw.randbytes(draw.randrange(400))]
    for _ in range(BLOCK):
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] = draw.randrange(256)
        contents.append(bytes(broken))
    messages = []
    for content in contents:
        try:
            register(content, tmp_path)
        except MlopsError as error:
            messages.append(str(error))
    assert len(messages) > BLOCK
    assert max(map(len, messages)) < 1200
    assert not any("onnxruntime_src" in message for message in messages)


def edit(change: Callable[[onnx.ModelProto], object]) -> bytes:
    proto = make_sigmoid()
    change(proto)
    return proto.SerializeToString()


def set_opset(version: int, domain: str = "") -> bytes:
    def change(proto: onnx.ModelProto) -> None:
        next(entry for entry in proto.opset_import if entry.domain == domain).version = version

    return edit(change)


def loop_forever() -> bytes:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Add", ["v", "v"], ["more"])],
        "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("still", TensorProto.BOOL, []), value("more", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)]
    return make_graph(nodes, [("y", TensorProto.FLOAT, ("n", 2))], {"true": np.array(True)}).SerializeToString()


def refer_to(location: str) -> bytes:
    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))

    return edit(change)


def claim_a_huge_weight(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [2**40, 2**40]


def close_a_circle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "sum"


def answer_in_a_sequence(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["p"], ["parts"]))
    proto.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))


def answer_optionally(proto: onnx.ModelProto) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    proto.graph.node.append(helper.make_node("Optional", ["p"], ["perhaps"]))
    proto.graph.output[0].CopyFrom(helper.make_value_info("perhaps", kind))


def read_a_sequence(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None))


def answer_once(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("ReduceMean", ["p"], ["mean"], keepdims=0))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("mean", TensorProto.FLOAT, []))


def answer_a_cube(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 1]), "cube"))
    proto.graph.node.append(helper.make_node("Reshape", ["p", "cube"], ["boxes"]))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 1, 1]))


def fix_the_rows(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def shape_one_row(proto: onnx.ModelProto) -> None:
    fix_the_rows(proto)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "one_row"))
    proto.graph.node.insert(0, onnx.helper.make_node("Reshape", ["x", "one_row"], ["flat"]))
    proto.graph.node[1].input[0] = "flat"


def read_nothing(proto: onnx.ModelProto) -> None:
    del proto.graph.input[:]


def use_an_unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Divine"


def use_an_unknown_domain(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain = "example.org"
    proto.opset_import.append(helper.make_opsetid("example.org", 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (set_opset(27), r"found opset 27, this runtime knows up to \d+: export with an older one"),
        (set_opset(99), r"found opset 99, this runtime knows up to \d+: export with an older one"),
        (set_opset(9, "ai.onnx.ml"), r"found opset 9 of ai.onnx.ml, this runtime knows up to \d+: export"),
        (set_opset(6), "found opset 6, expected 7 or newer: export with a newer one"),
        (edit(lambda proto: setattr(proto, "ir_version", 99)), r"\(IR version\) 99, this runtime knows up to \d+;"),
        (refer_to("../../etc/passwd"), "found no valid ONNX model"),
        (refer_to("/etc/passwd"), "found no valid ONNX model"),
        (refer_to("nothing.data"), "found no valid ONNX model"),
        (edit(claim_a_huge_weight), "found no valid ONNX model"),
        (edit(close_a_circle), "found no valid ONNX model"),
        (edit(answer_in_a_sequence), "found a graph without output"),
        (edit(answer_optionally), "found a graph without output|not a tensor"),
        (edit(lambda proto: proto.graph.ClearField("output")), "found a graph without output|no valid ONNX"),
        (edit(read_a_sequence), "found the inputs x, which is not a tensor|no valid ONNX"),
        (edit(read_nothing), "found the inputs none|no valid ONNX"),
        (edit(answer_once), "found one value for"),
        (edit(answer_a_cube), r"found the output boxes of shape \(\d+, 1, 1\)"),
        (edit(shape_one_row), "expected predictions for any number of rows"),
        (edit(use_an_unknown_operator), "found no valid ONNX model"),
        (edit(use_an_unknown_domain), r"ONNX Runtime cannot open it \(.*example.org.*; export it with these alone"),
        (b"", "found no valid ONNX model"),
        (b"PK\x03\x04 no zip", "found no valid ONNX model"),
        (b"wide,long,kind\n1,2,0\n", "found no valid ONNX model"),
    ],
)
def test_odd_graphs_are_refused_in_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        register(content, tmp_path)
    assert "\n" not in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)


def test_a_file_that_was_exported_for_one_row_answers_any_number(tmp_path: Path) -> None:
    model = register(edit(fix_the_rows), tmp_path)
    assert len(model.predict_rows([[1.0, 2.0], [3.0, 3.0], [0.5, 0.25]]).values) == 3


def test_a_zip_and_a_folder_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.zip", "w") as archive:
        archive.writestr("file.onnx", make_sigmoid().SerializeToString())
    with pytest.raises(ModelFileError, match="found no valid ONNX model"):
        read_file(tmp_path / "file.zip")
    with pytest.raises(ModelFileError, match="Is a directory"):
        read_file(tmp_path)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file.onnx").open("wb") as file:
        file.truncate(49_000_000)
    with pytest.raises(ModelFileError, match="found 49 MB, expected at most 48"):
        read_file(tmp_path / "file.onnx")


def test_weights_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "load_external_data_for_model", lambda *_: pytest.fail("the weights were read"))
    (tmp_path / "file.onnx").write_bytes(refer_to("w.data"))
    with (tmp_path / "w.data").open("wb") as file:
        file.truncate(48_000_000)
    with pytest.raises(ModelFileError, match="found 48 MB, expected at most 48"):
        read_file(tmp_path / "file.onnx")


def test_a_loop_without_end_is_ended() -> None:
    with pytest.raises(ModelFileError, match=r"no end after 0\.2 s"):
        BareModel(loop_forever()).run(["y"], {"x": np.ones((2, 2), np.float32)}, seconds=0.2)


def test_a_message_of_the_runtime_is_shown_without_its_source() -> None:
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : /src/core/graph/model.cc:46 void onnx::Check(const std::string&, int) Too new"
    )
    assert shorten(text) == "Too new"
    assert len(shorten("x" * 5000)) == 200


@pytest.mark.timeout(60)
def test_a_message_that_quotes_a_name_of_slashes_is_read_once() -> None:
    assert len(shorten("/" * 500_000)) == 200


def test_a_thousand_outputs_and_names_of_control_characters_are_taken(tmp_path: Path) -> None:
    nodes, weights = make_sums()
    nodes[1].output[0] = "sums\n\x07"
    outputs = [("sums\n\x07", TensorProto.FLOAT, ("n", 2))]
    for place in range(300):
        nodes.append(helper.make_node("Identity", ["sums\n\x07"], [f"o{place}"]))
        outputs.append((f"o{place}", TensorProto.FLOAT, ("n", 2)))
    model = register(make_graph(nodes, outputs, weights).SerializeToString(), tmp_path)
    assert model.predict_rows([[4.0, 4.0], [0.0, 0.0]]).values == [1, 0]
