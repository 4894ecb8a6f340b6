"""Reads an ONNX file that nobody vouches for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

from ml_code.errors import ModelFileError
from ml_code.model_file.onnx_model import BareModel, shorten
from ml_code.model_file.spec import LARGEST_FILE_MB

OLDEST_OPSET = 7
"""The first one in which sizes fit automatically, as the operators need that are added to a graph."""

ML_DOMAIN = "ai.onnx.ml"


def read_file(path: Path) -> onnx.ModelProto:
    """Reads and checks an ONNX file; its weights may be in a file beside it, as PyTorch writes them.

    Raises:
        ModelFileError: there is no such file, it is not an ONNX model, too new or too large, or lacks weights.
    """
    try:
        _refuse_large(path, path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: found {error.strerror}, expected an ONNX file; correct the path") from error
    try:
        proto = onnx.load_from_string(content)
        refuse_versions(proto, str(path))
        _refuse_large(path, len(content) + _measure_weights(proto, path.parent))
        onnx.load_external_data_for_model(proto, str(path.parent))
        onnx.checker.check_model(proto)
    except ModelFileError:
        raise
    except (DecodeError, EncodeError, onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        raise ModelFileError(
            f"{path}: found no valid ONNX model ({shorten(error)}), expected one with its weights inside it or beside "
            "it; export it again"
        ) from error
    return proto


def refuse_versions(proto: onnx.ModelProto, name: str) -> None:
    """Refuses a file that is newer than ONNX Runtime, in the words of an exporter.

    Raises:
        ModelFileError: its format or an opset is too new or too old.
    """
    newest = _find_newest_version()
    if proto.ir_version > newest:
        raise ModelFileError(
            f"{name}: found the ONNX format (IR version) {proto.ir_version}, this runtime knows up to {newest}; "
            "export it with an older onnx, or set ir_version to that number"
        )
    for opset in proto.opset_import:
        domain = "" if opset.domain in {"", "ai.onnx"} else opset.domain
        if domain not in {"", ML_DOMAIN}:
            continue
        newest = _find_newest_opset(domain)
        shown = f"opset {opset.version}" + (f" of {domain}" if domain else "")
        if opset.version > newest:
            raise ModelFileError(f"{name}: found {shown}, this runtime knows up to {newest}: export with an older one")
        if not domain and opset.version < OLDEST_OPSET:
            raise ModelFileError(f"{name}: found {shown}, expected {OLDEST_OPSET} or newer: export with a newer one")


def _refuse_large(path: Path, size: int) -> None:
    if size > LARGEST_FILE_MB * 1_000_000:
        raise ModelFileError(
            f"{path}: found {size / 1e6:.0f} MB, expected at most {LARGEST_FILE_MB}, the limit of serving; "
            "export a smaller model"
        )


def _measure_weights(proto: onnx.ModelProto, folder: Path) -> int:
    """Bytes of the files of weights beside a model, which are known before they are read."""
    external = [tensor for tensor in _get_all_tensors(proto) if uses_external_data(tensor)]
    files = {folder / ExternalDataInfo(tensor).location for tensor in external}
    return sum(file.stat().st_size for file in files if file.is_file())


@functools.cache
def _find_newest_opset(domain: str) -> int:
    """The newest opset of a domain that ONNX Runtime opens."""
    newest = onnx.defs.onnx_opset_version()
    return next(opset for opset in range(newest, 0, -1) if _is_opened({"": OLDEST_OPSET, domain: opset}, 8))


@functools.cache
def _find_newest_version() -> int:
    """The newest version of the ONNX format (IR version) that ONNX Runtime opens."""
    return next(version for version in range(onnx.IR_VERSION, 0, -1) if _is_opened({"": OLDEST_OPSET}, version))


def _is_opened(opsets: Mapping[str, int], version: int) -> bool:
    value = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [value("x")], [value("y")])
    imports = [helper.make_opsetid(domain, opset) for domain, opset in opsets.items()]
    try:
        BareModel(helper.make_model(graph, opset_imports=imports, ir_version=version).SerializeToString())
    except ModelFileError:
        return False
    return True
