from __future__ import annotations

from typing import Any

import onnx
import pytest

from ml_code.errors import ModelFileError
from ml_code.model_spec import METADATA_KEY, ModelSpec
from ml_code.onnx_model import OnnxModel
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
def test_what_is_no_whole_file_is_refused(content: bytes) -> None:
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
    ],
    ids=["no such output", "too few classes", "rows too short", "answers missing", "probabilities missing", "no rows"],
)
def test_a_spec_that_does_not_fit_its_file_is_refused_by_name(changes: dict[str, Any], golden: dict[str, Any]) -> None:
    model = OnnxModel(describe_otherwise(changes, golden))
    with pytest.raises(ModelFileError, match="golden rows of a iris model"):
        model.replay_golden()
