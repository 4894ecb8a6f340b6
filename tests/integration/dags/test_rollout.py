"""The DAGs of a rollout and of the way back, with a canary pool; the tests build on each other."""

from __future__ import annotations

import pytest

from ml_code.datasets import CATALOG
from tests.integration.dags.run_dag import run_dag
from tests.integration.plugins.slack_stand_in import run_slack
from tests.integration.serving.replica import wait_until
from tests.integration.serving.rollout_stack import CANARY_HOST, STABLE_HOST, RolloutStack
from tests.unit.serving.bad_files import make_bad_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

QUICK = "\n[canary]\nwindow_seconds = 2\nminimum_requests = 60\nlatency_margin_ms = 1000\n"
GROUP = "roll_out"


@pytest.fixture(scope="module")
def stack(rollout_stack: RolloutStack) -> RolloutStack:
    return rollout_stack


@pytest.fixture(scope="module")
def canary_environment(
    tmp_path_factory: pytest.TempPathFactory, airflow_environment: dict[str, str], stack: RolloutStack
) -> dict[str, str]:
    catalog = tmp_path_factory.mktemp("catalog")
    (catalog / "iris.toml").write_text((CATALOG / "iris.toml").read_text() + QUICK)
    settings = stack.settings
    password = settings.mlflow_password.get_secret_value()
    dsn = settings.warehouse_dsn
    assert dsn is not None
    access = {"MLFLOW_URL": settings.mlflow_url, "MLFLOW_USERNAME": "trainer", "MLFLOW_PASSWORD": password}
    return {
        **airflow_environment,
        **{f"{prefix}_{name}": value for prefix in ("MLOPS", "ROLLOUT") for name, value in access.items()},
        "MLOPS_WAREHOUSE_DSN": dsn.get_secret_value(),
        "MLOPS_GATEWAY_URL": stack.gateway.url,
        "MLOPS_CATALOG_DIR": str(catalog),
        "ROLLOUT_STABLE_HOST": STABLE_HOST,
        "ROLLOUT_CANARY_HOST": CANARY_HOST,
        "ROLLOUT_PORT": str(stack.gateway.port),
    }


def states(ran: dict[str, dict[str, str]]) -> dict[str, str]:
    """The state of each step of the one rollout; Airflow skips some without an index."""
    return {
        name.removeprefix(f"{GROUP}.").partition("[")[0]: state
        for name, state in ran["tasks"].items()
        if name.startswith(GROUP)
    }


def test_the_first_version_goes_straight_to_the_replicas(
    canary_environment: dict[str, str], stack: RolloutStack
) -> None:
    stack.register(make_bad_classifier())
    ran = run_dag(canary_environment, "model_serving_pipeline", model="iris")
    assert ran["state"] == "success", ran["log"][-6000:]
    found = states(ran)
    skipped = {"start_canary", "wait_for_canary", "analyse_canary", "approve", "abort"}
    assert {name for name, state in found.items() if state == "skipped"} == skipped
    assert {state for name, state in found.items() if name not in skipped} == {"success"}
    assert stack.served() == {"stable": {"champion": "1"}, "canary": {"champion": "1"}}


def test_a_good_version_goes_through_its_canary_and_is_told_of_once(
    canary_environment: dict[str, str], stack: RolloutStack
) -> None:
    stack.register(make_bad_classifier())
    with run_slack() as slack:
        environment = {**canary_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}
        ran = run_dag(environment, "model_serving_pipeline", model="iris")
    assert ran["state"] == "success", ran["log"][-6000:]
    assert {name for name, state in states(ran).items() if state == "skipped"} == {"approve", "abort"}
    [message] = slack.messages
    assert "(1 -&gt; 2)* promoted" in message["text"]
    assert "100 replayed requests" in message["text"]
    assert stack.aliases() == {"champion": "2", "previous": "1"}


def test_what_serves_already_is_skipped(canary_environment: dict[str, str]) -> None:
    ran = run_dag(canary_environment, "model_serving_pipeline", model="iris")
    assert ran["state"] == "success"
    assert set(states(ran).values()) == {"skipped"}


def test_a_bad_version_is_ended_and_told_of_once_with_its_cause(
    canary_environment: dict[str, str], stack: RolloutStack
) -> None:
    version = stack.register(make_bad_classifier(), digest="0" * 64)
    with run_slack() as slack:
        environment = {**canary_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}
        ran = run_dag(environment, "model_serving_pipeline", model="iris")
    assert ran["state"] == "failed"
    assert states(ran)["validate_artifact"] == "failed"
    assert states(ran)["abort"] == "success"
    assert states(ran)["promote"] == "upstream_failed"
    [message] = slack.messages
    assert "validate_artifact* failed" in message["text"]
    assert "truncated or altered" in message["text"]
    assert stack.aliases() == {"champion": "2", "previous": "1"}
    assert stack.version_tags(version)["rollout"] == "aborted"


def test_the_way_back_is_a_dag_of_its_own(canary_environment: dict[str, str], stack: RolloutStack) -> None:
    ran = run_dag(canary_environment, "model_rollback", model="iris", reason="only a test")
    assert ran["state"] == "success", ran["log"][-6000:]
    wait_until(lambda: stack.served()["stable"] == {"champion": "1"}, stack.served)
    assert stack.aliases() == {"champion": "1"}
    assert stack.version_tags("2")["rolled_back"] == "only a test"
    move = stack.control("test").log.find_last_move("iris")
    assert move is not None
    # The person of a run that `dag.test()` starts.
    assert move.who.startswith("dag_test (model_rollback/")
