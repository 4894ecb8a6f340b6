from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from ml_code.errors import ModelFileError
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY, ModelSpec
from ml_code.settings import REPOSITORY
from tests.unit.serving.onnx_files import make_classifier


def describe_otherwise(changes: dict[str, Any], golden: dict[str, Any]) -> bytes:
    """A good file with another spec."""
    proto = onnx.load_from_string(make_classifier())
    spec = ModelSpec.model_validate_json(proto.metadata_props[0].value).model_dump()
    changed = ModelSpec.model_validate(spec | changes | {"golden": spec["golden"] | golden})
    onnx.helper.set_model_props(proto, {METADATA_KEY: changed.model_dump_json()})
    content: bytes = proto.SerializeToString()
    return content


@pytest.mark.parametrize("content", [b"not a model", make_classifier()[:-50]], ids=["nonsense", "truncated"])
def test_a_damaged_model_file_is_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError, match="expected an ONNX model"):
        OnnxModel(content)


def test_a_file_without_a_spec_is_refused() -> None:
    proto = onnx.load_from_string(make_classifier())
    del proto.metadata_props[:]
    with pytest.raises(ModelFileError, match="found no metadata"):
        OnnxModel(proto.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({"prediction_output": "elsewhere"}, {}),
        ({"classes": [0]}, {}),
        ({}, {"rows": [[1.0, 2.0]] * 3}),
        ({}, {"predictions": [0]}),
        ({}, {"probabilities": [[1.0]]}),
        ({}, {"rows": [], "predictions": [], "probabilities": None}),
        ({}, {"probabilities": [[1.0], [0.5, 0.5], [1.0]]}),
        ({"classes": [0, 1, 2, 3]}, {}),
        ({"probabilities_output": "label"}, {"probabilities": None}),
    ],
    ids=[
        "no such output",
        "too few classes",
        "rows too short",
        "answers missing",
        "probabilities missing",
        "no rows",
        "ragged probabilities",
        "too many classes",
        "labels as probabilities",
    ],
)
def test_a_spec_that_does_not_fit_its_file_is_refused_by_name(changes: dict[str, Any], golden: dict[str, Any]) -> None:
    model = OnnxModel(describe_otherwise(changes, golden))
    with pytest.raises(ModelFileError, match="golden rows of a iris model"):
        model.replay_golden()


def test_two_answers_to_each_row_are_refused() -> None:
    proto = onnx.load_from_string(describe_otherwise({}, {"predictions": [0, 0, 1, 1, 2, 2]}))
    proto.graph.node[1].output[0] = "one"
    proto.graph.node.extend(
        [
            onnx.helper.make_node("Unsqueeze", ["one", "axis"], ["column"]),
            onnx.helper.make_node("Concat", ["column", "column"], ["label"], axis=1),
        ]
    )
    proto.graph.initializer.append(onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]))
    proto.graph.output[0].type.tensor_type.shape.dim.add()
    with pytest.raises(ModelFileError, match="found 6 recorded and 6 new answers to 3 rows"):
        OnnxModel(proto.SerializeToString()).replay_golden()


def test_a_graph_that_takes_one_number_of_rows_only_is_refused() -> None:
    proto = onnx.load_from_string(make_classifier())
    for node in proto.graph.input:
        node.type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(ModelFileError, match="does not answer them"):
        OnnxModel(proto.SerializeToString()).replay_golden()


def test_a_negative_class_id_does_not_mean_the_last_class() -> None:
    proto = onnx.load_from_string(make_classifier(answer=2))
    labels = next(entry for entry in proto.graph.node[1].attribute if entry.name == "classlabels_ints")
    labels.ints[:] = [0, 1, -1]
    model = OnnxModel(proto.SerializeToString())
    with pytest.raises(KeyError):
        model.predict_rows([[5.1, 3.5, 1.4, 0.2]])


def test_metadata_that_is_not_utf8_is_refused() -> None:
    content = make_classifier()
    with pytest.raises(ModelFileError, match="not UTF-8"):
        OnnxModel(content.replace(b'"format"', b'"form\xff\xfe"'))


def test_opening_models_sends_nothing_and_leaves_no_device_id(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(make_classifier())
    program = (
        f"import ml_code.model_file.onnx_model as m; m.OnnxModel(open({str(file)!r}, 'rb').read()).replay_golden()"
    )
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if path.name in {"deviceid", "onnxruntime.db"}]


def test_threads_of_a_session_do_not_wait_busily() -> None:
    options = OnnxModel(make_classifier(), threads=2)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_model_does_not_hold_its_file() -> None:
    content = bytes(bytearray(make_classifier()))
    before = sys.getrefcount(content)
    model = OnnxModel(content)
    assert sys.getrefcount(content) == before
    model.replay_golden()
