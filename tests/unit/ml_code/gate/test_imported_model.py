"""ONNX files that skl2onnx did not make, built node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from ml_code.data.features import select_inputs
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.snapshots import prepare, read_snapshot
from ml_code.datasets import Dataset, load_dataset
from ml_code.errors import ModelFileError
from ml_code.gate import judging
from ml_code.gate.challenger import UNKNOWN_HOLDOUT
from ml_code.gate.imported_model import adapt
from ml_code.gate.imports.foreign_file import read_file
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import Settings
from ml_code.tracking import RunRecord
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows

# Distances to the mean flower of each species, as a product of matrices and a sum.
MEANS = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]], np.float32)
WEIGHTS, BIAS = (2 * MEANS.T).astype(np.float32), -(MEANS**2).sum(axis=1).astype(np.float32)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings.model_copy(update={"catalog_dir": None}))


@pytest.fixture
def iris(workspace: Workspace) -> tuple[Dataset, Split]:
    dataset = load_dataset("iris")
    return dataset, split_holdout(dataset, read_snapshot(workspace, prepare(workspace, "iris")))


def make_network(*, softmax: bool = True, width: int = 4, rows: int = -1) -> onnx.ModelProto:
    """One matrix in, one figure for each species out, as an export from PyTorch looks."""
    last = "scores" if softmax else "logits"
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sums"]),
        helper.make_node("Reshape", ["sums", "shape"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [None, 3])],
        [
            numpy_helper.from_array(np.resize(WEIGHTS, (width, 3)), "weights"),
            numpy_helper.from_array(BIAS, "bias"),
            numpy_helper.from_array(np.array([rows, 3]), "shape"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def make_mute_network() -> onnx.ModelProto:
    proto = make_network()
    del proto.graph.output[:]
    return proto


def score(dataset: Dataset, content: bytes, rows: pd.DataFrame) -> float:
    inputs = select_inputs(dataset, rows)
    answers = OnnxModel(content).predict_columns({name: inputs[name].tolist() for name in inputs.columns})
    return float(np.mean([a == b for a, b in zip(answers.values, rows[dataset.target].tolist(), strict=True)]))


def test_a_network_with_one_matrix_answers_the_rows_of_the_dataset(iris: tuple[Dataset, Split]) -> None:
    dataset, split = iris
    content = adapt(dataset, make_network(), split, "network.onnx")
    model = OnnxModel(content)
    model.replay_golden()
    assert [feature.name for feature in model.spec.features] == dataset.features
    assert score(dataset, content, split.holdout) > 0.85
    answer = model.predict_rows([[5.1, 3.5, 1.4, 0.2]])
    assert (answer.values, answer.probabilities is not None) == ([0], True)


def save_with_weights_beside(folder: Path) -> Path:
    onnx.save(make_network(), folder / "network.onnx", save_as_external_data=True, location="w.data", size_threshold=70)
    return folder / "network.onnx"


def test_weights_that_stand_beside_the_file_are_taken_into_it(iris: tuple[Dataset, Split], tmp_path: Path) -> None:
    dataset, split = iris
    content = adapt(dataset, read_file(save_with_weights_beside(tmp_path)), split, "network.onnx")
    (tmp_path / "w.data").unlink()
    assert score(dataset, content, split.holdout) > 0.85


def test_missing_weights_beside_the_file_are_reported(tmp_path: Path) -> None:
    file = save_with_weights_beside(tmp_path)
    (tmp_path / "w.data").unlink()
    with pytest.raises(ModelFileError, match=r"w\.data.*expected one with its weights inside it or beside it"):
        read_file(file)


def test_a_served_file_reads_no_weights_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="External data path does not exist"):
        OnnxModel(save_with_weights_beside(tmp_path).read_bytes())


def test_numbers_that_do_not_sum_to_one_are_not_probabilities(iris: tuple[Dataset, Split]) -> None:
    dataset, split = iris
    model = OnnxModel(adapt(dataset, make_network(softmax=False), split, "network.onnx"))
    assert model.predict_rows([[5.1, 3.5, 1.4, 0.2]]).probabilities is None
    assert model.predict_rows([[5.1, 3.5, 1.4, 0.2]]).values == [0]


def make_passengers() -> tuple[Dataset, pd.DataFrame]:
    return make_dataset(categorical=[]), make_typed_rows().drop(columns=["town", "sex"])


def make_largest() -> onnx.ModelProto:
    """The greater of fare and age wins."""
    graph = helper.make_graph(
        [helper.make_node("Concat", ["fare", "age"], ["both"], axis=1)],
        "largest",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("fare", "age")],
        [helper.make_tensor_value_info("both", TensorProto.FLOAT, [None, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_text_classes_are_answered_as_they_are_spelt() -> None:
    dataset, rows = make_passengers()
    model = OnnxModel(adapt(dataset, make_largest(), split_holdout(dataset, rows.fillna(40)), "largest.onnx"))
    assert model.predict_rows([[30.0, 1.0], [1.0, 30.0]]).values == ["dead", "alive"]


class FakeTracker:
    """One run with a model file; keeps what is logged."""

    def __init__(self, content: bytes, tags: dict[str, str]) -> None:
        self.content = content
        self.run = RunRecord("run", "FINISHED", {}, {}, tags)
        self.pictures: set[str] = set()

    def read_run(self, run_id: str) -> RunRecord:
        return self.run

    def read_candidate(self, run: RunRecord) -> bytes:
        return self.content

    def log_figures(self, run_id: str, figures: Mapping[str, object]) -> None:
        self.pictures |= set(figures)

    def log(self, run_id: str, metrics: Mapping[str, float]) -> None:
        assert all(np.isfinite(value) for value in metrics.values())


def test_a_network_that_answers_labels_as_texts_is_measured_as_any_other(workspace: Workspace) -> None:
    uri = prepare(workspace, "iris")
    dataset = load_dataset("iris")
    proto = make_network()
    labels = {"keys_int64s": [0, 1, 2], "values_strings": ["0", "1", "2"]}
    proto.graph.node.append(helper.make_node("ArgMax", ["scores"], ["place"], axis=1, keepdims=0))
    proto.graph.node.append(helper.make_node("LabelEncoder", ["place"], ["label"], domain="ai.onnx.ml", **labels))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    proto.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.STRING, [None]))
    content = adapt(dataset, proto, split_holdout(dataset, read_snapshot(workspace, uri)), "network.onnx")
    assert OnnxModel(content).predict_rows([[5.1, 3.5, 1.4, 0.2]]).values == [0]
    tags = {"dataset": "iris", "model": "iris", "dataset_version": "rows", "holdout_id": UNKNOWN_HOLDOUT}
    tracker = FakeTracker(content, {**tags, "snapshot_uri": uri})
    workspace = replace(workspace, connect_tracker=lambda _: tracker)
    assert judging.evaluate(workspace, "run")["accuracy"] > 0.85
    assert tracker.pictures == {"confusion_matrix", "calibration"}


def test_a_graph_that_knows_no_gaps_is_refused_where_the_rows_have_some() -> None:
    dataset, rows = make_passengers()
    with pytest.raises(ModelFileError, match="it returns NaN for a missing cell"):
        adapt(dataset, make_largest(), split_holdout(dataset, rows), "largest.onnx")


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (make_network(width=5), r"found the input x \[None, 5\], expected \(rows, 4\) in the order sepal_length"),
        (make_network(rows=7), "expected predictions for any number of rows"),
        (make_mute_network(), "found a graph without output"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_expected_shape(
    iris: tuple[Dataset, Split], proto: onnx.ModelProto, message: str
) -> None:
    dataset, split = iris
    with pytest.raises(ModelFileError, match=message):
        adapt(dataset, proto, split, "network.onnx")


def test_a_matrix_cannot_hold_categories() -> None:
    dataset = make_dataset()
    with pytest.raises(ModelFileError, match=r"expected one of shape \(rows, 1\) for each of age, fare, town, sex"):
        adapt(dataset, make_network(), split_holdout(dataset, make_typed_rows()), "network.onnx")


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="found no valid ONNX model"):
        read_file(tmp_path / "model.onnx")
    with pytest.raises(ModelFileError, match="No such file"):
        read_file(tmp_path / "nothing.onnx")
