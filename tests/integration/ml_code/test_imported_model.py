"""A model of another framework, through the same gate into the same registry."""

from __future__ import annotations

from pathlib import Path

from ml_code.gate import imported_model, judging
from ml_code.settings import Settings
from ml_code.tracking import Tracker
from tests.servers import MlflowServer
from tests.unit.ml_code.gate.test_imported_model import make_network


def test_a_network_is_measured_judged_and_registered_and_waits_beside_a_champion(
    tmp_path: Path, stack_settings: Settings, mlflow_server: MlflowServer
) -> None:
    tracker = Tracker(stack_settings)
    (tmp_path / "network.onnx").write_bytes(make_network().SerializeToString())
    versions = []
    for gate in ("passed", "needs_approval"):
        run_id = imported_model.import_model(
            tmp_path / "network.onnx", "iris", model="IrisModel", settings=stack_settings
        )
        assert judging.evaluate(run_id, settings=stack_settings)["accuracy"] > 0.85
        judging.decide(run_id, settings=stack_settings)
        versions.append(judging.register(run_id, settings=stack_settings))
        record = tracker.read_version("IrisModel", versions[-1])
        assert (record.tags["gate"], record.tags["model_type"]) == (gate, "onnx")
        mlflow_server.move_alias("IrisModel", versions[0])
    mlflow_server.move_alias("IrisModel", None)
    assert tracker.read_model_file("IrisModel", versions[0])[:1]
