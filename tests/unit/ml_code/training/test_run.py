from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ml_code.data import snapshots
from ml_code.datasets import CATALOG
from ml_code.errors import CatalogError, SourceError, StorageError, TrainingError
from ml_code.gate import judging
from ml_code.gate.decision import Decision
from ml_code.settings import Settings
from ml_code.tracking import RunRecord, VersionRecord
from ml_code.training.plans import Mix, RunOrigin, plan_retrainings, plan_training, training_arguments
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import PASSENGERS, make_rows


@pytest.fixture
def catalog(tmp_path: Path, workspace: Workspace) -> Path:
    assert workspace.settings.catalog_dir == tmp_path
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    make_rows().to_csv(tmp_path / "passengers.csv", index=False)
    return tmp_path


@pytest.mark.usefixtures("catalog")
def test_a_dataset_of_ones_own_needs_a_file_and_its_rows_only(workspace: Workspace) -> None:
    uri = snapshots.prepare(workspace, "passengers")
    assert Path(uri).parent == Path(workspace.settings.datasets_uri) / "snapshots" / "passengers"
    rows = pd.read_parquet(uri)
    assert len(rows) == 400
    assert rows["age"].dtype == "float64"


@pytest.mark.usefixtures("catalog")
def test_iris_comes_with_all_its_rows_and_numbered_species(workspace: Workspace) -> None:
    rows = pd.read_parquet(snapshots.prepare(workspace, "iris"))
    assert (len(rows), sorted(rows["species"].unique())) == (150, [0, 1, 2])


def test_the_version_follows_the_rows(catalog: Path, workspace: Workspace) -> None:
    first = snapshots.prepare(workspace, "passengers")
    assert snapshots.prepare(workspace, "passengers") == first
    make_rows(rows=500).to_csv(catalog / "passengers.csv", index=False)
    assert snapshots.prepare(workspace, "passengers") != first


def test_a_file_in_the_datasets_folder_goes_before_the_source(catalog: Path, workspace: Workspace) -> None:
    folder = catalog / "offline"
    folder.mkdir()
    make_rows(rows=450).to_csv(folder / "passengers.csv", index=False)
    offline = workspace.settings.model_copy(update={"datasets_dir": folder})
    assert len(pd.read_parquet(snapshots.prepare(open_workspace(offline), "passengers"))) == 450


def test_a_source_that_is_not_there_is_named(catalog: Path, workspace: Workspace) -> None:
    (catalog / "passengers.csv").unlink()
    with pytest.raises(StorageError, match=r"passengers\.csv: found No such file"):
        snapshots.prepare(workspace, "passengers")


def test_an_address_that_does_not_answer_tells_of_the_folder(catalog: Path, workspace: Workspace) -> None:
    behind = PASSENGERS.replace(
        'kind = "file", path = "passengers.csv"', 'kind = "url", url = "http://127.0.0.1:1/p.csv"'
    )
    (catalog / "passengers.toml").write_text(behind)
    with pytest.raises(SourceError, match=r"put passengers\.csv into a folder and set MLOPS_DATASETS_DIR"):
        snapshots.prepare(workspace, "passengers")


def test_an_object_that_is_not_there_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing: found No such file"):
        workspace.storage.read_bytes(str(tmp_path / "nothing"))


def test_the_form_plans_one_training_by_hand() -> None:
    plan = plan_training({"dataset": "iris", "model_type": "xgboost", "hyperparameters": None, "force": True})
    assert (plan["trigger"], plan["force"]) == ("manual", True)
    assert training_arguments(plan) == {
        "dataset": "iris",
        "model_type": "xgboost",
        "estimator": None,
        "hyperparameters": {},
        "fit": "auto",
    }


def test_each_dataset_of_several_events_is_trained_once_as_its_champion_was(workspace: Workspace) -> None:
    champion = VersionRecord("iris", "3", "run", {"model_type": "sklearn", "estimator": "linear"})
    registry = FakeRegistry(champion, {"hyperparameters": '{"C": 2.0}'})
    shipped = workspace.settings.model_copy(update={"catalog_dir": None})
    found = plan_retrainings(Workspace(shipped, connect_tracker=lambda _: registry), ["iris", "housing", "iris"])
    assert [(plan["dataset"], plan["trigger"]) for plan in found] == [("housing", "data"), ("iris", "data")]
    assert [(plan["estimator"], plan["hyperparameters"]) for plan in found] == [
        ("random_forest", {}),
        ("linear", {"C": 2.0}),
    ]


class FakeRegistry:
    """One model with a champion."""

    def __init__(self, champion: VersionRecord, params: dict[str, str]) -> None:
        self.champion, self.params = champion, params

    def read_aliases(self, name: str) -> dict[str, str]:
        return {"champion": self.champion.version} if name == self.champion.name else {}

    def read_version(self, name: str, version: str) -> VersionRecord:
        return self.champion

    def read_run(self, run_id: str) -> RunRecord:
        return RunRecord(run_id, "FINISHED", self.params, {}, {})


def test_a_form_that_asks_for_too_much_is_refused_before_anything_runs() -> None:
    with pytest.raises(TrainingError, match="unknown depth"):
        plan_training({"dataset": "iris", "model_type": "xgboost", "hyperparameters": {"depth": 3}})
    with pytest.raises(CatalogError, match="found 'tulips'"):
        plan_training({"dataset": "tulips", "model_type": "xgboost"})


def test_a_run_that_has_a_version_keeps_its_decision(settings: Settings) -> None:
    stored = Decision("iris", "promote", "0.9 >= 0.85, the first model", "accuracy", 0.9, 0.85, 51, "manual")
    workspace = Workspace(settings, connect_tracker=lambda _: FakeTracker(stored))
    assert judging.decide(workspace, "run") == stored


class FakeTracker:
    """A registry in which the run's version serves already."""

    def __init__(self, decision: Decision) -> None:
        self.tags = {"dataset": "iris", "model": "iris", "gate.decision": decision.to_json()}

    def read_run(self, run_id: str) -> RunRecord:
        return RunRecord(run_id, "FINISHED", {}, {}, self.tags)

    def list_versions(self, name: str, run_id: str) -> list[VersionRecord]:
        return [VersionRecord(name, "1", run_id, self.tags)]


def test_tries_of_one_task_share_a_key_and_mapped_tasks_do_not() -> None:
    assert RunOrigin("d", "r", "t", 0).key == RunOrigin("d", "r", "t", 0).key
    assert RunOrigin("d", "r", "t", 0).key != RunOrigin("d", "r", "t", 1).key


@pytest.mark.parametrize("mix", ["balanced", "newest"])
def test_new_data_is_trained_on_by_the_champions_mix_of_rows_and_never_left_out(workspace: Workspace, mix: str) -> None:
    champion = VersionRecord("iris", "3", "run", {"model_type": "sklearn", "estimator": "linear"})
    registry = FakeRegistry(champion, {"mix": mix, "mix_since_ms": "1000.0"})
    shipped = workspace.settings.model_copy(update={"catalog_dir": None})
    [found] = plan_retrainings(Workspace(shipped, connect_tracker=lambda _: registry), ["iris"])
    assert training_arguments(found)["mix"] == Mix("balanced", 1000.0)
