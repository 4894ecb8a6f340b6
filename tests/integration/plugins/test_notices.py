"""Notices sent by Airflow itself to a server that plays Slack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.airflow_process import run_in_airflow
from tests.integration.dags.run_dag import run_dag
from tests.integration.plugins.slack_stand_in import TOKEN, describe_connection, run_slack

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


def test_a_run_that_ends_well_sends_one_message_and_ends_well_whatever_slack_answers(
    slack_environment: dict[str, str],
) -> None:
    with run_slack(500) as slack:
        result = run_dag({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}, "noticed_success")
    assert result["state"] == "success"
    assert [message["text"].splitlines()[0] for message in slack.messages] == ["*noticed_success* succeeded"] * 3
    assert "Slack notice: found 500, expected 200" in result["log"]
    assert [line for line in result["log"].splitlines() if TOKEN in line] == []


@pytest.mark.parametrize(("status", "messages"), [(404, 1), (500, 3), (None, 1)])
def test_no_answer_of_slack_raises_an_error(
    slack_environment: dict[str, str], status: int | None, messages: int
) -> None:
    with run_slack(status) as slack:
        environment = {**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": slack.connection}
        log = notify(environment, timeout_seconds=2 if status is None else 30)
    assert len(slack.messages) == messages, log[-3000:]
    assert "Slack notice: found" in log
    assert TOKEN not in log


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "ftp://nowhere", "http://[broken"])
def test_no_broken_connection_raises_an_error(slack_environment: dict[str, str], host: str) -> None:
    log = notify({**slack_environment, "AIRFLOW_CONN_MY_WEBHOOK": describe_connection(host, TOKEN)})
    assert "Slack notice: found" in log
    assert TOKEN not in log


@pytest.mark.parametrize("connection", [None, describe_connection("https://hooks.slack.com/services", "")])
def test_without_a_webhook_nothing_is_sent(slack_environment: dict[str, str], connection: str | None) -> None:
    added = {} if connection is None else {"AIRFLOW_CONN_MY_WEBHOOK": connection}
    assert "has no webhook, so nothing is sent" in notify({**slack_environment, **added})


def notify(environment: dict[str, str], timeout_seconds: int = 30) -> str:
    """Sends one notice and returns all that was logged; an error fails the test."""
    log = run_in_airflow(environment, "tests.integration.plugins.notify:notify", timeout_seconds=timeout_seconds).log
    # At DEBUG Airflow prints what it asks itself to mask.
    return "\n".join(line for line in log.splitlines() if "MaskSecret" not in line)
