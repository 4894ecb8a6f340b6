"""What the gate signed of a version, and who may change it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import SecretStr

from ml_code.data import snapshots
from ml_code.errors import DigestError, GateError, TrackingError
from ml_code.gate import judging
from ml_code.settings import Settings
from ml_code.signature import find_signer
from ml_code.tracking import Tracker
from ml_code.training import run
from ml_code.workspace import Workspace, open_workspace
from serving.registry.writer import MlflowRegistryWriter
from tests.integration.ml_code.trained_iris import train_and_register
from tests.servers import MlflowServer


@pytest.fixture(scope="module")
def snapshot_uri(stack_settings: Settings) -> str:
    return snapshots.prepare(open_workspace(stack_settings), "iris")


@pytest.fixture(scope="module")
def version(stack_settings: Settings, snapshot_uri: str) -> str:
    """A version that tests leave as it is."""
    return train_and_register(open_workspace(stack_settings), snapshot_uri, "sklearn", "linear")


@pytest.fixture
def tracker(workspace: Workspace) -> Tracker:
    return workspace.tracker


def test_a_version_whose_file_has_another_digest_is_refused(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str
) -> None:
    version = train_and_register(workspace, snapshot_uri, "sklearn", "linear")
    tracker.tag_version("iris", version, {"sha256": "0" * 64})
    with pytest.raises(DigestError, match="expected 0000"):
        tracker.read_model_file("iris", version)
    tracker.tag_version("iris", version, {"gate": "test"})


def test_the_serving_user_reads_and_cannot_write(
    workspace: Workspace, mlflow_server: MlflowServer, version: str
) -> None:
    reader = Tracker(
        workspace.settings.model_copy(
            update={
                "mlflow_username": "serving",
                "mlflow_password": SecretStr(mlflow_server.passwords["serving"]),
            }
        )
    )
    try:
        assert reader.read_version("iris", version).tags["gate"] == "passed"
        with pytest.raises(TrackingError, match="for the user serving"):
            reader.tag_version("iris", version, {"gate": "passed"})
        with pytest.raises(TrackingError, match="for the user serving"):
            reader.find_or_create_run("iris", None, "intruder", {})
    finally:
        Tracker(workspace.settings)


def test_a_rollout_finds_what_the_gate_signed_and_nothing_else(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str
) -> None:
    version = train_and_register(workspace, snapshot_uri, "sklearn", "linear")
    login = workspace.settings.mlflow_url, "trainer", workspace.settings.mlflow_password.get_secret_value()
    writer = MlflowRegistryWriter(*login, find_signer(workspace.settings))
    try:
        assert (writer.read_tags("iris", version) or {})["gate"] == "passed"
        assert writer.find_newest_passed("iris", ()) == version
        assert writer.find_newest_passed("iris", {version}) != version
        tracker.tag_version("iris", version, {"gate": "rejected"})  # hides nothing: the signed outcome counts
        assert writer.find_newest_passed("iris", ()) == version
        tracker.tag_version("iris", version, {"sha256": "0" * 64})
        assert (writer.read_tags("iris", version) or {})["gate"] == "forged"
        assert writer.find_newest_passed("iris", ()) != version
    finally:
        writer.close()


def test_a_version_that_is_registered_again_stays_as_it_was_signed(
    workspace: Workspace, tracker: Tracker, version: str
) -> None:
    record = tracker.read_version("iris", version)
    assert judging.register(workspace, record.run_id) == version
    assert tracker.read_version("iris", version).tags == record.tags
    tracker.tag_version("iris", version, {"gate.decision": "another", "gate": "needs_approval"})
    assert judging.register(workspace, record.run_id) == version
    assert tracker.read_version("iris", version).tags == record.tags


def test_a_decision_that_somebody_else_wrote_registers_nothing(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str
) -> None:
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")
    judging.evaluate(workspace, run_id)
    decision = judging.decide(workspace, run_id)
    forged = replace(decision, outcome="promote", reason="forged").to_json()
    tracker.log(run_id, tags={"gate.decision": forged, "gate": "promote"})
    with pytest.raises(GateError, match=f"run {run_id}: not signed"):
        judging.register(workspace, run_id)


def test_the_version_carries_the_decision_and_the_libraries(tracker: Tracker, version: str) -> None:
    tags = tracker.read_version("iris", version).tags
    assert json.loads(tags["gate.decision"])["outcome"] == "promote"
    assert {"sha256", "dataset_version", "holdout_id", "git_commit", "library.scikit-learn"} <= set(tags)
