"""Starts that must not succeed, a power cut of the whole stack, and its end; nothing runs after these tests."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.stack import Stack, docker
from tests.waiting import wait_until

ROW = [5.1, 3.5, 1.4, 0.2]


def list_names(stack: Stack, *kind: str) -> list[str]:
    """What the stack has of a kind: containers, volumes or networks."""
    label = f"label=com.docker.compose.project={stack.project}"
    return docker(*kind, "--quiet", "--filter", label).stdout.split()


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"BIND_ADDRESS": "0.0.0.0", "POSTGRES_PASSWORD": "insecure-postgres"}, "POSTGRES_PASSWORD"),
        ({"AIRFLOW_JWT_SECRET": "short"}, "AIRFLOW_JWT_SECRET: expected at least 64 characters, found 5"),
        ({"BIND_ADDRESS": "everywhere"}, "BIND_ADDRESS: expected an IP address"),
    ],
)
def test_preflight_refuses_secrets_that_are_known_or_short(stack: Stack, changes: dict[str, str], finding: str) -> None:
    options = [option for name, value in changes.items() for option in ("--env", f"{name}={value}")]
    done = stack.compose("run", "--rm", "--no-deps", *options, "preflight", check=False)
    assert done.returncode != 0
    assert finding in done.stdout


def test_without_env_up_stops_with_the_variable_and_the_two_ways(stack: Stack) -> None:
    done = stack.compose("--env-file", "/dev/null", "config", "--quiet", check=False)
    assert done.returncode != 0
    assert "run make env, or cp .env.example .env" in done.stderr


def test_a_new_env_over_old_volumes_is_detected_and_said(stack: Stack) -> None:
    done = stack.compose("run", "--rm", "--no-deps", "--env", "POSTGRES_PASSWORD=another", "database-init", check=False)
    assert done.returncode != 0
    assert "volume is older than this .env" in done.stdout + done.stderr


@pytest.mark.usefixtures("trained")
def test_a_stack_that_lost_its_power_comes_back_with_its_data_and_ends_without_a_trace(
    stack: Stack, airflow: Airflow
) -> None:
    versions, runs = stack.read_versions(), airflow.list_runs(TRAIN)
    docker("kill", *list_names(stack, "ps"))
    stack.compose("down")
    stack.compose("up", "--detach", "--wait", timeout=1500)
    wait_until(lambda: stack.predict([ROW]).status_code == 200, 300, "a prediction after the cut")
    wait_until(lambda: stack.read_versions() == versions, 300, lambda: f"{versions}; found {stack.read_versions()}")
    with closing(Airflow(stack)) as restarted:
        assert restarted.list_runs(TRAIN) == runs
    stack.compose("down", "--volumes", "--timeout", "1")
    assert [list_names(stack, *kind) for kind in (("ps", "--all"), ("volume", "ls"), ("network", "ls"))] == [[], [], []]
