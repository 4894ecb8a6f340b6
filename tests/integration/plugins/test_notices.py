"""Notices sent by Airflow itself to a server that plays Slack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.dags.run_dag import run_dag
from tests.integration.plugins.slack_stand_in import TOKEN, describe_connection, run_slack
from tests.servers import free_port

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="module")
def slack_environment(airflow_environment: dict[str, str]) -> dict[str, str]:
    return {
        **airflow_environment,
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__API__BASE_URL": "http://airflow.example:8080",
    }


def test_a_failed_task_sends_one_message(slack_environment: dict[str, str]) -> None:
    with run_slack() as slack:
        result = run_dag({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}, "noticed_failure")
    assert result["state"] == "failed"
    assert slack.paths == [f"/services/{TOKEN}"]
    first, second, third, link = slack.messages[0]["text"].splitlines()
    assert first == "*noticed_failure.divide* failed"
    assert second.startswith("run manual__")
    assert second.endswith(", try 1")
    assert third == "ValueError: 3 &lt; 5 &amp; {{ ti }} of *iris*"
    assert link.startswith("<http://airflow.example:8080/dags/noticed_failure/runs/manual__")
    assert [line for line in result["log"].splitlines() if TOKEN in line] == []


def test_a_run_that_ends_well_sends_one_message(slack_environment: dict[str, str]) -> None:
    with run_slack() as slack:
        result = run_dag({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}, "noticed_success")
    assert result["state"] == "success"
    assert [message["text"].splitlines()[0] for message in slack.messages] == ["*noticed_success* succeeded"]


@pytest.mark.parametrize("status", [404, 500, None])
def test_no_answer_of_slack_changes_a_result(slack_environment: dict[str, str], status: int | None) -> None:
    with run_slack(status) as slack:
        result = run_dag({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}, "noticed_success")
    assert result["state"] == "success"
    assert len(slack.messages) == 1, result["log"][-3000:]
    assert "Slack notice: found" in result["log"]
    assert [line for line in result["log"].splitlines() if TOKEN in line] == []


@pytest.mark.parametrize("host", [f"http://127.0.0.1:{free_port()}", "ftp://nowhere", "http://[broken"])
def test_no_broken_connection_changes_a_result(slack_environment: dict[str, str], host: str) -> None:
    connection = describe_connection(host, TOKEN)
    result = run_dag({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": connection}, "noticed_success")
    assert result["state"] == "success"
    assert "Slack notice: found" in result["log"]
    assert [line for line in result["log"].splitlines() if TOKEN in line] == []


@pytest.mark.parametrize("connection", [None, describe_connection("https://hooks.slack.com/services", "")])
def test_without_a_webhook_nothing_is_sent(slack_environment: dict[str, str], connection: str | None) -> None:
    added = {} if connection is None else {"AIRFLOW_CONN_MY_WEBHOOK": connection}
    result = run_dag({**slack_environment, **added}, "noticed_success")
    assert result["state"] == "success"
    assert "has no webhook, so nothing is sent" in result["log"]
