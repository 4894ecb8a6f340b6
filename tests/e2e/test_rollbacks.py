"""The way back under constant arrival, by the command and by the DAG.

In every push the machine does other work beside a test; the long form asks for the seconds that are promised.
"""

from __future__ import annotations

import json
import time

from tests.e2e.publishing import Publisher, make_good
from tests.e2e.reliability import check_report
from tests.e2e.rollouts import Rollouts
from tests.e2e.stack import Stack
from tests.e2e.traffic import Traffic
from tests.waiting import wait_until

BUSY_SECONDS = 240


def test_a_rollback_by_the_command_reaches_all_replicas_in_ten_seconds(
    stack: Stack, publisher: Publisher, champion: str, repeat: int
) -> None:
    bad = promote_another(stack, publisher)
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        started = time.monotonic()
        done = stack.mlops("rollback", "iris", "--why", "it was wrong")
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: publisher.read_fleet() == {champion}, BUSY_SECONDS, "all replicas are back")
        seconds = time.monotonic() - started
        time.sleep(2)
    check_report(f"rollback by the command in {seconds:.1f} s", traffic.report)
    assert seconds < (10 if repeat else BUSY_SECONDS)
    assert publisher.read_model()["aliases"]["champion"] == champion != bad
    assert read_last_mover(stack).startswith("admin (")


def test_a_rollback_by_the_dag_reaches_all_replicas_in_thirty_seconds(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, repeat: int
) -> None:
    promote_another(stack, publisher)
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        started = time.monotonic()
        run_id = rollouts.airflow.trigger("model_rollback", model="iris", reason="it was wrong")
        wait_until(lambda: publisher.read_fleet() == {champion}, BUSY_SECONDS, "all replicas are back")
        seconds = time.monotonic() - started
        assert rollouts.airflow.wait_for_run("model_rollback", run_id) == "success"
    check_report(f"rollback by the DAG in {seconds:.1f} s", traffic.report)
    assert seconds < (30 if repeat else BUSY_SECONDS)
    assert read_last_mover(stack) == f"admin (model_rollback/{run_id})"


def read_last_mover(stack: Stack) -> str:
    """Whom the log names for the last move of iris."""
    return str(json.loads(stack.mlops("history", "iris", "--json").stdout)[0]["who"])


def promote_another(stack: Stack, publisher: Publisher) -> str:
    new = publisher.publish(make_good())
    done = stack.mlops("promote", "iris", new, "--why", "it looks better")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: publisher.read_fleet() == {new}, BUSY_SECONDS, f"every replica answers with {new}")
    return new
