from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from pydantic import SecretStr

from ml_code.data import snapshots
from ml_code.errors import GateError, TrackingError
from ml_code.gate import judging
from ml_code.gate.decision import verdict
from ml_code.model_file.feed import feed_rows
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import Settings
from ml_code.tracking import SHA256, Tracker
from ml_code.training import run
from ml_code.training.plans import RunOrigin
from ml_code.workspace import Workspace, open_workspace
from tests.integration.ml_code.trained_iris import FAMILIES, train_and_register
from tests.servers import MlflowServer
from tests.unit.ml_code.passengers import make_rows


@pytest.fixture(scope="module")
def snapshot_uri(stack_settings: Settings) -> str:
    return snapshots.prepare(open_workspace(stack_settings), "iris")


@pytest.fixture
def tracker(workspace: Workspace) -> Tracker:
    return workspace.tracker


@pytest.fixture
def _no_champion(mlflow_server: MlflowServer, tracker: Tracker) -> Iterator[None]:
    yield
    if "champion" in tracker.read_aliases("iris"):
        mlflow_server.move_alias("iris", None)


def test_preparing_twice_gives_one_snapshot(workspace: Workspace, snapshot_uri: str) -> None:
    assert snapshots.prepare(workspace, "iris") == snapshot_uri
    assert snapshot_uri.startswith("s3://datasets/snapshots/iris/")


@pytest.mark.parametrize(("model_type", "estimator"), FAMILIES)
def test_every_family_is_trained_judged_and_registered(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str, model_type: str, estimator: str | None
) -> None:
    run_id = run.train(workspace, "iris", snapshot_uri, model_type, estimator)
    metrics = judging.evaluate(workspace, run_id)
    decision = judging.decide(workspace, run_id)
    version = judging.register(workspace, run_id)

    assert metrics["accuracy"] >= 0.85
    assert decision.is_promoted
    assert tracker.read_version("iris", version).tags["gate"] == "passed"
    model = OnnxModel(tracker.read_model_file("iris", version))
    model.replay_golden()
    assert model.predict_rows([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]]).values == [0, 1]
    assert tracker.read_aliases("iris") == {}
    assert tracker.list_versions("iris")[0] == tracker.read_version("iris", version)


@pytest.mark.parametrize(("task", "metric"), [("classification", "accuracy"), ("regression", "r2")])
def test_a_dataset_of_ones_own_with_text_and_gaps_needs_a_toml_file_only(
    workspace: Workspace, tracker: Tracker, tmp_path: Path, task: str, metric: str
) -> None:
    name = f"passengers_{task}"
    described = (
        f'name = "{name}"\ntask = "{task}"\ntarget = "outcome"\nnumeric = ["age", "fare"]\n'
        f'categorical = ["town", "sex"]\nsource = {{ kind = "file", path = "rows.csv" }}\n'
        f'gate = {{ metric = "{metric}", threshold = 0.7 }}\n'
    )
    (tmp_path / f"{name}.toml").write_text(described)
    make_rows(task).to_csv(tmp_path / "rows.csv", index=False)
    workspace = open_workspace(workspace.settings.model_copy(update={"catalog_dir": tmp_path}))

    run_id = run.train(workspace, name, snapshots.prepare(workspace, name), "xgboost")
    judging.evaluate(workspace, run_id)
    assert judging.decide(workspace, run_id).is_promoted
    version = judging.register(workspace, run_id)

    OnnxModel(tracker.read_model_file(name, version)).replay_golden()


def test_names_and_labels_of_people_are_trained_judged_and_registered(
    workspace: Workspace, tracker: Tracker, tmp_path: Path
) -> None:
    names = {"age": "distance (km)", "fare": "label", "town": "나이", "sex": "a.b", "outcome": "$ <b>값</b>"}
    (tmp_path / "odd_names.toml").write_text(
        'name = "odd_names"\ntask = "classification"\ntarget = "$ <b>값</b>"\nnumeric = ["distance (km)", "label"]\n'
        'categorical = ["나이", "a.b"]\nsource = { kind = "file", path = "rows.csv" }\n'
        'gate = { metric = "accuracy", threshold = 0.7 }\n'
    )
    rows = make_rows().replace({"outcome": {"alive": "$$", "dead": "찬성_\\frac{"}}).rename(columns=names)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    workspace = open_workspace(workspace.settings.model_copy(update={"catalog_dir": tmp_path}))

    run_id = run.train(workspace, "odd_names", snapshots.prepare(workspace, "odd_names"), "lightgbm")
    judging.evaluate(workspace, run_id)
    assert judging.decide(workspace, run_id).is_promoted
    version = judging.register(workspace, run_id)

    model = OnnxModel(tracker.read_model_file("odd_names", version))
    row: list[list[float | str]] = [[30.0, 8.0, "S", "female"]]
    by_mlflow = mlflow.pyfunc.load_model(f"models:/odd_names/{version}")
    [answer] = by_mlflow.predict(dict(feed_rows(model.spec.features, row)))["label"]
    assert model.predict_rows(row).values == [("$$", "찬성_\\frac{")[answer]]


def test_mlflow_itself_opens_and_runs_a_version(workspace: Workspace, snapshot_uri: str) -> None:
    version = train_and_register(workspace, snapshot_uri, "sklearn", "linear")
    model = mlflow.pyfunc.load_model(f"models:/iris/{version}")
    names = model.metadata.signature.inputs.input_names()
    answers = model.predict({n: np.array([[x]], np.float32) for n, x in zip(names, [5.1, 3.5, 1.4, 0.2], strict=True)})
    assert answers["label"].tolist() == [0]
    assert answers["probabilities"].shape == (1, 3)
    assert names == ["feature_0", "feature_1", "feature_2", "feature_3"]


def test_a_fit_on_the_disk_gives_the_same_file_and_says_so_on_run_and_version(
    workspace: Workspace, tracker: Tracker, tmp_path: Path
) -> None:
    described = (
        'name = "disk_rows"\ntask = "classification"\ntarget = "outcome"\nnumeric = ["age", "fare"]\n'
        'categorical = ["town", "sex"]\nsource = { kind = "file", path = "rows.csv" }\n'
        'gate = { metric = "accuracy", threshold = 0.7 }\n'
    )
    (tmp_path / "disk_rows.toml").write_text(described)
    make_rows(rows=3000).to_csv(tmp_path / "rows.csv", index=False)
    spool = tmp_path / "spool"
    spool.mkdir()
    changes = {"catalog_dir": tmp_path, "spool_dir": spool}
    workspace = open_workspace(workspace.settings.model_copy(update=changes))
    uri = snapshots.prepare(workspace, "disk_rows")

    in_memory, on_disk = (run.train(workspace, "disk_rows", uri, "xgboost", fit=fit) for fit in ("memory", "external"))
    assert tracker.read_run(on_disk).tags[SHA256] == tracker.read_run(in_memory).tags[SHA256]
    assert tracker.read_run(in_memory).tags["fit"] == "memory"
    shown = tracker.read_run(on_disk)
    assert (shown.tags["fit"], shown.tags["fit_workers"]) == ("external", "1")
    assert shown.params["holdout_rows"] == shown.params["holdout_measured_rows"]
    assert judging.evaluate(workspace, on_disk) == judging.evaluate(workspace, in_memory)
    assert judging.decide(workspace, on_disk).is_promoted
    tags = tracker.read_version("disk_rows", judging.register(workspace, on_disk)).tags
    assert (tags["fit"], tags["gate"]) == ("external", "passed")
    assert list(spool.iterdir()) == []


def test_a_run_shows_params_metrics_dataset_tags_and_plots(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str
) -> None:
    origin = RunOrigin("mlops_training_pipeline", "manual__shown", "train", 0)
    figures = {"n_estimators": 7}
    run_id = run.train(workspace, "iris", snapshot_uri, "xgboost", hyperparameters=figures, origin=origin)
    judging.evaluate(workspace, run_id)
    judging.decide(workspace, run_id)

    shown = mlflow.MlflowClient().get_run(run_id)
    assert shown.data.params["hyperparameter.n_estimators"] == "7"
    assert {"accuracy", "f1_macro", "holdout_rows", "baseline_dummy", "baseline_linear"} <= set(shown.data.metrics)
    assert shown.data.metrics["baseline_linear"] > 0.85
    assert shown.data.metrics["baseline_dummy"] < 0.5
    slices = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/slices.json"))
    assert {part["feature"] for part in slices} == set(workspace.load_dataset("iris").features)
    assert shown.data.metrics["accuracy_low"] <= shown.data.metrics["accuracy"] <= shown.data.metrics["accuracy_high"]
    assert shown.data.tags["airflow.run_id"] == "manual__shown"
    assert shown.data.tags["dataset_version"] in snapshot_uri
    assert len(shown.data.tags["git_commit"]) >= 7
    assert [entry.dataset.name for entry in shown.inputs.dataset_inputs] == ["iris"]
    plots = [entry.path for entry in mlflow.MlflowClient().list_artifacts(run_id, "plots")]
    assert plots == ["plots/calibration.png", "plots/confusion_matrix.png", "plots/feature_importance.png"]
    card = mlflow.artifacts.load_text(f"runs:/{run_id}/model_card.md")
    assert shown.data.tags["dataset_version"] in card
    assert shown.data.tags["gate.verdict"] in card
    assert shown.info.status == "FINISHED"


def test_models_on_one_snapshot_are_counted(workspace: Workspace, snapshot_uri: str) -> None:
    before = judging.decide(workspace, run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")).tries
    same, other = (
        run.train(workspace, "iris", snapshot_uri, "sklearn", "linear", hyperparameters={"C": value})
        for value in (0.4711, 0.4712)
    )
    assert judging.decide(workspace, same).tries == before + 1
    assert judging.decide(workspace, same).tries == before + 1
    assert judging.decide(workspace, other).tries == before + 2


def test_a_retry_makes_no_second_run_and_no_second_version(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str
) -> None:
    origin = RunOrigin("mlops_training_pipeline", "manual__retried", "train", 0)
    runs = {run.train(workspace, "iris", snapshot_uri, "lightgbm", origin=origin) for _ in range(2)}
    assert len(runs) == 1
    run_id = runs.pop()
    judging.decide(workspace, run_id)
    versions = {judging.register(workspace, run_id) for _ in range(2)}
    assert len(versions) == 1
    assert [record.version for record in tracker.list_versions("iris", run_id)] == [*versions]


@pytest.mark.usefixtures("_no_champion")
def test_mlflow_going_away_between_logging_and_registering_leaves_one_version_after_the_retry(
    workspace: Workspace, tracker: Tracker, snapshot_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")
    judging.decide(workspace, run_id, force=True)

    def go_away(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("connection refused")

    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "create_model_version", go_away)
        with pytest.raises(TrackingError, match="connection refused"):
            judging.register(workspace, run_id)
    assert tracker.list_versions("iris", run_id) == []
    version = judging.register(workspace, run_id)
    assert [record.version for record in tracker.list_versions("iris", run_id)] == [version]
    OnnxModel(tracker.read_model_file("iris", version)).replay_golden()


@pytest.mark.usefixtures("_no_champion")
def test_an_identical_second_model_is_rejected_and_not_registered(
    workspace: Workspace, mlflow_server: MlflowServer, tracker: Tracker, snapshot_uri: str
) -> None:
    champion = train_and_register(workspace, snapshot_uri, "sklearn", "linear")
    mlflow_server.move_alias("iris", champion)
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")

    decision = judging.decide(workspace, run_id)

    assert not decision.is_promoted
    assert decision.champion_version == champion
    assert "not better by more than" in verdict(decision)
    with pytest.raises(GateError, match="found the verdict 'iris: rejected"):
        judging.register(workspace, run_id)
    assert tracker.list_versions("iris", run_id) == []
    assert "--force" in judging.explain_rejection(workspace, run_id)
    # An event about rows that the champion knows changes nothing; a person may.
    assert not judging.decide(workspace, run_id, "data").is_promoted
    assert judging.decide(workspace, run_id, force=True).is_forced


def test_an_unjudged_run_is_not_registered(workspace: Workspace, snapshot_uri: str) -> None:
    run_id = run.train(workspace, "iris", snapshot_uri, "sklearn", "linear")
    with pytest.raises(GateError, match="found no decision"):
        judging.register(workspace, run_id)


def test_a_wrong_password_is_said(workspace: Workspace) -> None:
    wrong = workspace.settings.model_copy(update={"mlflow_password": SecretStr("wrong")})
    try:
        with pytest.raises(TrackingError, match="that user's password"):
            Tracker(wrong).read_aliases("iris")
    finally:
        Tracker(workspace.settings)


def test_downloads_go_through_the_server_because_clients_do_not_reach_the_store(tracker: Tracker) -> None:
    assert tracker.read_aliases("nothing") == {}
    assert not MlflowArtifactsRepository("mlflow-artifacts:/1")._is_multipart_download_enabled()
