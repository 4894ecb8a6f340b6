"""`mlops scale` on a running stack: more and fewer replicas under load, by hand and by the load itself."""

from __future__ import annotations

import json
import signal

import pytest

from tests.e2e.reliability import check_report
from tests.e2e.stack import Stack
from tests.e2e.traffic import Traffic, make_rows
from tests.waiting import wait_until


def list_containers(stack: Stack) -> dict[str, str]:
    """Names of the running containers with their ids."""
    lines = stack.compose("ps", "--format", "{{.Name}} {{.ID}}").stdout.splitlines()
    return dict(line.split() for line in lines)


def read_number(stack: Stack) -> str:
    """The number in the settings, which `make up` starts."""
    [line] = [line for line in (stack.folder / ".env").read_text().splitlines() if line.startswith("SERVING_REPLICAS=")]
    return line.partition("=")[2]


def scale(stack: Stack, *arguments: str) -> str:
    done = stack.mlops("scale", "serving", *arguments, "--env-file", str(stack.folder / ".env"))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("champion")
def test_one_comes_and_goes_under_load_and_nothing_else_changes(stack: Stack) -> None:
    before = list_containers(stack)
    with Traffic(f"{stack.gateway}/predict", rate_per_second=100) as traffic:
        assert scale(stack, "3").startswith("2 -> 3 replicas")
        more = list_containers(stack)
        assert read_number(stack) == "3"
        scale(stack, "2")
    check_report("scaled to 3 and back", traffic.report)
    assert (set(more) - set(before), before.items() - more.items()) == ({f"{stack.project}-serving-3"}, set())
    assert (list_containers(stack), read_number(stack)) == (before, "2")


def test_more_than_the_machine_has_memory_for_is_refused(stack: Stack) -> None:
    before = list_containers(stack)
    done = stack.mlops("scale", "serving", "9999", "--env-file", str(stack.folder / ".env"))
    assert done.returncode == 1
    assert "scale: found 9999 replicas, expected at most" in done.stderr
    assert list_containers(stack) == before


@pytest.mark.long
@pytest.mark.usefixtures("champion")
def test_the_load_itself_brings_a_replica_and_a_person_ends_it(stack: Stack) -> None:
    scale(stack, "1")
    follower = stack.start_mlops("scale", "serving", "--auto", "--min", "1", "--max", "2", "--env-file",
                                 str(stack.folder / ".env"))  # fmt: skip
    try:
        # A millisecond and more each, so that the replica and not the sender is what runs short.
        bodies = [json.dumps([json.loads(row)[0] for row in make_rows(count=350)]).encode()]
        with Traffic(f"{stack.gateway}/predict", rate_per_second=800, connections=32, bodies=bodies) as traffic:
            wait_until(lambda: len(stack.containers("serving")) == 2, 120, "a second replica")
            follower.send_signal(signal.SIGINT)
            said, _ = follower.communicate(timeout=60)
    finally:
        follower.kill()
        follower.communicate()
        scale(stack, "2")
    assert "1 -> 2 replicas: a load of" in said
    assert "ended; 2 replicas stay" in said
    assert traffic.report.sent > traffic.report.failed == 0
