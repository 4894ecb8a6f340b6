"""Imports an ONNX file that was trained elsewhere: adapts it to a dataset and adds spec and golden rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from ml_code.data import features, holdout
from ml_code.data.holdout import Split
from ml_code.data.snapshots import name_version, prepare, read_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.gate.champion import UNKNOWN_HOLDOUT
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import Label
from ml_code.tracking import MODEL
from ml_code.tracking.provenance import find_git_commit
from ml_code.training.export import open_unsealed, seal
from ml_code.workspace import Workspace

MODEL_TYPE = "onnx"

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
WHOLE = (TensorProto.INT64, TensorProto.INT32)


def import_model(workspace: Workspace, path: Path, dataset: str, *, model: str | None = None) -> str:
    """Creates a run for an ONNX file, like that of a training, and returns the run's id.

    The file reads one input of shape (rows, 1) for each feature, by its name. If all features are numbers, it may read
    one input of shape (rows, features) in the order of the catalog. Its first output is the prediction: values, labels
    or class ids. For a classification it may be one number for each class; then the largest wins. A second output of
    shape (rows, classes) counts as probabilities.

    Args:
        workspace: with MLflow, the store and the catalog.
        path: path of the file.
        dataset: name in the catalog.
        model: registered model of the version; None: the one with the dataset's name.

    Raises:
        ModelFileError: the file is not an ONNX model, or does not fit the dataset.
        CatalogError: the dataset is not in the catalog.
        TrackingError: MLflow refuses.
    """
    described = workspace.load_dataset(dataset)
    proto = read_file(path)
    snapshot_uri = prepare(workspace, dataset)
    split = holdout.split_holdout(described, read_snapshot(workspace, snapshot_uri))
    content = adapt(described, proto, split, str(path))
    tracker = workspace.tracker
    tags = {
        "dataset": dataset,
        MODEL: model or dataset,
        "model_type": MODEL_TYPE,
        "estimator": MODEL_TYPE,
        "dataset_version": name_version(snapshot_uri),
        "snapshot_uri": snapshot_uri,
        "holdout_id": UNKNOWN_HOLDOUT,
        "git_commit": find_git_commit(workspace.settings),
    }
    params = {
        "dataset": dataset,
        "model_type": MODEL_TYPE,
        "estimator": MODEL_TYPE,
        "hyperparameters": "{}",
        "seed": "unknown",
        "train_rows": "unknown",
        "holdout_rows": len(split.holdout),
        "file": path.name,
    }
    run = tracker.find_or_create_run(dataset, None, f"{model or dataset}-{MODEL_TYPE}", tags)
    is_logged = False
    try:
        tracker.log(run.run_id, params=params)
        tracker.log_candidate(run.run_id, content)
        is_logged = True
    finally:
        tracker.end_run(run.run_id, is_failed=not is_logged)
    return run.run_id


def read_file(path: Path) -> onnx.ModelProto:
    """Reads and checks an ONNX file; its weights may be in a file beside it, as PyTorch writes them.

    Raises:
        ModelFileError: there is no such file, it is not an ONNX model, or its weights are missing.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: found {error.strerror}, expected an ONNX file; correct the path") from error
    try:
        proto = onnx.load_from_string(content)
        onnx.load_external_data_for_model(proto, str(path.parent))
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(
            f"{path}: found no valid ONNX model ({reason}), expected one with its weights inside it or beside it; "
            "export it again"
        ) from error
    return proto


def adapt(dataset: Dataset, proto: onnx.ModelProto, split: Split, name: str) -> bytes:
    """Returns the model file with one input for each feature, one prediction for each row, spec and golden rows.

    Raises:
        ModelFileError: it does not fit the dataset.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(proto)
    del adapted.metadata_props[:]
    if not adapted.graph.output:
        raise ModelFileError(
            f"{name}: found a graph without output, expected a prediction as its first output; export it so"
        )
    _split_matrix_input(dataset, adapted, name)
    classes = features.list_classes(dataset, split.train)
    _put_prediction_first(dataset, adapted, classes, name)
    try:
        _drop_other_outputs(dataset, adapted, classes, split)
        content = seal(dataset, adapted, _find_classes(adapted, classes), split.train)
        OnnxModel(content).replay_golden()
    except Exception as error:  # onnxruntime's exceptions share no root but Exception
        raise ModelFileError(
            f"{name}: found that it fails on rows of {dataset.name} ({error!r}), expected predictions for any "
            f"number of rows, such as {_describe_prediction(dataset, classes)}; export it so"
        ) from error
    return content


def _split_matrix_input(dataset: Dataset, proto: onnx.ModelProto, name: str) -> None:
    """Replaces the matrix input of a graph by one input for each feature; a graph with these inputs stays unchanged."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [node for node in proto.graph.input if node.name not in weights]
    if sorted(node.name for node in inputs) == sorted(dataset.features):
        return
    described = ", ".join(f"{node.name} {_shape(node)}" for node in inputs)
    if dataset.categorical or len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ModelFileError(
            f"{name}: found the inputs {described}, expected one of shape (rows, 1) for each of "
            f"{', '.join(dataset.features)}"
            + ("" if dataset.categorical else f", or one float32 matrix (rows, {len(dataset.features)})")
            + "; export it with these inputs"
        )
    [matrix] = inputs
    width = _shape(matrix)[-1]
    if len(_shape(matrix)) != 2 or width not in (len(dataset.features), None):
        raise ModelFileError(
            f"{name}: found the input {described}, expected (rows, {len(dataset.features)}) in the order "
            f"{', '.join(dataset.features)}; export it for these columns"
        )
    proto.graph.input.remove(matrix)
    columns = [helper.make_tensor_value_info(f, TensorProto.FLOAT, [None, 1]) for f in dataset.features]
    proto.graph.input.extend(columns)
    proto.graph.node.insert(0, helper.make_node("Concat", dataset.features, [matrix.name], axis=1))


def _put_prediction_first(dataset: Dataset, proto: onnx.ModelProto, classes: list[Label] | None, name: str) -> None:
    """Puts the class with the largest number first, if the first output is one number for each class."""
    first = proto.graph.output[0]
    kind = first.type.tensor_type.elem_type
    if classes is None:
        if kind not in FLOATS:
            raise ModelFileError(
                f"{name}: found the output {first.name} of type {TensorProto.DataType.Name(kind)}, "
                f"expected float values for the regression {dataset.name}; export it as a regression"
            )
        return
    if kind in (*WHOLE, TensorProto.STRING):
        return
    if kind not in FLOATS or len(_shape(first)) != 2 or _shape(first)[1] not in (len(classes), None):
        raise ModelFileError(
            f"{name}: found the output {first.name} {_shape(first)}, expected labels, or (rows, {len(classes)}) with "
            f"one number for each of the classes {', '.join(map(str, classes))}; export it for these classes"
        )
    largest = f"{first.name}_largest"
    proto.graph.node.append(helper.make_node("ArgMax", [first.name], [largest], axis=1, keepdims=0))
    proto.graph.output.insert(0, helper.make_tensor_value_info(largest, TensorProto.INT64, [None]))


def _drop_other_outputs(dataset: Dataset, proto: onnx.ModelProto, classes: list[Label] | None, split: Split) -> None:
    """Keeps a second output only if it is one share for each class and the shares sum to 1."""
    del proto.graph.output[2 if classes else 1 :]
    if len(proto.graph.output) < 2:
        return
    second = proto.graph.output[1]
    if second.type.tensor_type.elem_type in FLOATS:
        rows = features.select_inputs(dataset, split.train)
        model = open_unsealed(dataset, proto, _find_classes(proto, classes))
        shares = model.predict_columns({name: rows[name].tolist() for name in rows.columns}).probabilities
        if shares is not None and np.isnan(shares).any():
            raise ModelFileError("it returns NaN for a missing cell; fill gaps in the graph")
        if shares is not None and np.all(shares >= 0) and np.allclose(shares.sum(axis=1), 1, atol=1e-3):
            return
    proto.graph.output.remove(second)


def _describe_prediction(dataset: Dataset, classes: list[Label] | None) -> str:
    if classes is None:
        return f"values of {dataset.target}"
    return f"the positions 0 to {len(classes) - 1} of the classes {', '.join(map(str, classes))}, or these as text"


def _find_classes(proto: onnx.ModelProto, classes: list[Label] | None) -> list[Label] | None:
    """The label of each class id; None if the graph itself outputs labels or values."""
    is_text = proto.graph.output[0].type.tensor_type.elem_type == TensorProto.STRING
    return None if is_text else classes


def _shape(node: onnx.ValueInfoProto) -> list[int | None]:
    """Sizes of a tensor; None for a free size."""
    sizes = node.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") else None for size in sizes]
