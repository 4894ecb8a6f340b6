import pytest

from ml_code.errors import ModelFileError
from ml_code.onnx_model import OnnxModel


def test_a_truncated_file_is_refused_as_no_model() -> None:
    with pytest.raises(ModelFileError, match="expected an ONNX model"):
        OnnxModel(b"not a model")
