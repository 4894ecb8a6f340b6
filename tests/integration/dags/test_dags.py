"""The DAGs run by Airflow itself, without Docker, against a real MLflow, object store and replica."""

from __future__ import annotations

from tests.integration.dags.run_dag import run_dag
from tests.integration.serving.replica import Replica


def test_training_and_rollout_end_with_a_replica_that_answers(environment: dict[str, str], replica: Replica) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", estimator="linear", force=True)
    assert trained["state"] == "success", trained["log"][-3000:]
    assert trained["tasks"]["train_dataset.promoted[0]"] == "success"
    assert trained["tasks"]["train_dataset.rejected[0]"] == "skipped"
    rolled_out = run_dag(environment, "model_serving_pipeline", model="iris")
    assert rolled_out["state"] == "success", rolled_out["log"][-3000:]
    assert replica.predict().json()["predictions"] == [0]


def test_a_training_that_is_no_better_ends_in_rejected(environment: dict[str, str]) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", estimator="linear")
    assert trained["state"] == "success", trained["log"][-3000:]
    assert trained["tasks"]["train_dataset.rejected[0]"] == "success"
    assert trained["tasks"]["train_dataset.register[0]"] == "skipped"


def test_a_wrong_hyperparameter_is_refused_with_the_allowed_ones(environment: dict[str, str]) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", hyperparameters={"trees": 5})
    assert trained["state"] == "failed"
    assert "found the unknown trees, expected some of n_estimators" in trained["log"]
