"""A model of another framework, through the same gate into the same registry."""

from __future__ import annotations

from pathlib import Path

from ml_code.gate import imported_model, judging
from ml_code.workspace import Workspace
from tests.servers import MlflowServer
from tests.unit.ml_code.gate.test_imported_model import make_network


def test_a_network_is_measured_judged_and_registered_and_waits_beside_a_champion(
    tmp_path: Path, workspace: Workspace, mlflow_server: MlflowServer
) -> None:
    tracker = workspace.tracker
    (tmp_path / "network.onnx").write_bytes(make_network().SerializeToString())
    versions = []
    for gate in ("passed", "needs_approval"):
        run_id = imported_model.import_model(workspace, tmp_path / "network.onnx", "iris", model="IrisModel")
        assert judging.evaluate(workspace, run_id)["accuracy"] > 0.85
        judging.decide(workspace, run_id)
        versions.append(judging.register(workspace, run_id))
        record = tracker.read_version("IrisModel", versions[-1])
        assert (record.tags["gate"], record.tags["model_type"]) == (gate, "onnx")
        mlflow_server.move_alias("IrisModel", versions[0])
    mlflow_server.move_alias("IrisModel", None)
    assert tracker.read_model_file("IrisModel", versions[0])[:1]
