"""New rows of a dataset: what they train, beside a champion and without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ml_code.data import intake, snapshots
from ml_code.gate import judging
from ml_code.settings import REPOSITORY
from ml_code.training import plans, run
from ml_code.workspace import Workspace, open_workspace
from tests.integration.ml_code.trained_iris import FAMILIES
from tests.servers import MlflowServer

SAMPLE = REPOSITORY / "ml_code" / "samples" / "iris_new_rows.csv"


@pytest.fixture
def _no_champion(workspace: Workspace, mlflow_server: MlflowServer) -> Iterator[None]:
    yield
    if "champion" in workspace.tracker.read_aliases("iris"):
        mlflow_server.move_alias("iris", None)


@pytest.mark.usefixtures("_no_champion")
@pytest.mark.parametrize(
    ("model_type", "estimator"),
    [pytest.param(*family, marks=() if "linear" in family else pytest.mark.long) for family in FAMILIES],
)
def test_the_sample_file_passes_the_gate_with_the_champions_recipe(
    workspace: Workspace, mlflow_server: MlflowServer, model_type: str, estimator: str | None
) -> None:
    changes = {"datasets_uri": f"s3://datasets/{model_type}-{estimator}"}
    workspace = open_workspace(workspace.settings.model_copy(update=changes))
    figures = {"max_iter": 500} if estimator == "linear" else {"n_estimators": 40}
    run_id = run.train(
        workspace,
        "iris",
        snapshots.prepare(workspace, "iris"),
        model_type,
        estimator,
        hyperparameters=figures,
    )
    judging.decide(workspace, run_id)
    mlflow_server.move_alias("iris", judging.register(workspace, run_id))

    intake.put_file(workspace, "iris", SAMPLE)
    [batch] = intake.plan_batches(intake.list_waiting(workspace))
    assert intake.accept(workspace, batch)["rows"] == 60
    [plan] = plans.plan_retrainings(workspace, ["iris", "iris"])
    arguments = plans.training_arguments(plan)
    assert arguments == {
        "dataset": "iris",
        "model_type": model_type,
        "estimator": estimator,
        "hyperparameters": figures,
        "fit": "auto",
    }
    run_id = run.train(workspace, snapshot_uri=snapshots.prepare(workspace, "iris"), **arguments)
    decision = judging.decide(workspace, run_id, plan["trigger"])
    assert decision.is_promoted, decision.reason
    assert decision.champion_score is not None


def test_without_a_champion_new_data_trains_what_a_form_would(workspace: Workspace) -> None:
    [plan] = plans.plan_retrainings(workspace, ["iris"])
    assert (plan["model_type"], plan["estimator"], plan["trigger"]) == ("sklearn", "random_forest", "data")
