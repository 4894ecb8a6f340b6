"""Clients that fill the gateway: the others are answered as before, and nothing is killed."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.integration.gateway.containers import Fleet, docker, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2]]
MEDIAN_SECONDS = 0.5
"""Generous: the client that attacks shares the machine. docs/figures.md has the slowest of a run."""

ATTACKS = [
    ("half a head", 9000),
    ("a long half head", 3000),
    ("slow small body", 3000),
    ("slow large body", 1000),
    ("half a chunk", 1000),
]


@pytest.fixture(scope="module")
def filled() -> Any:
    """A replica behind a gateway that only this module's clients fill."""
    fleet = Fleet()
    try:
        fleet.start_replica("serving", "one")
        fleet.start_gateway(CANARY_PERCENT="0")
        yield fleet
    finally:
        fleet.close()


@pytest.mark.parametrize(("kind", "connections"), ATTACKS, ids=[kind for kind, _ in ATTACKS])
def test_others_are_answered_while_one_address_holds_thousands_of_connections(
    filled: Fleet, kind: str, connections: int
) -> None:
    url = f"http://{docker('port', filled.gateway, '8000')}"
    attacker = filled.start_attacker(kind, connections, 90)
    wait_until(lambda: "opened" in docker("logs", attacker), f"{kind}: connections are open", seconds=120)
    with httpx.Client(timeout=60, headers={"Connection": "close"}) as client:
        seconds = [ask(client, url) for _ in range(100)]
    docker("rm", "--force", attacker)
    assert sorted(seconds)[50] < MEDIAN_SECONDS, f"{kind}: slowest {sorted(seconds)[-5:]}"
    assert docker(
        "inspect", "--format", "{{.State.OOMKilled}} {{.RestartCount}} {{.State.Running}}", filled.gateway
    ) == ("false 0 true")


def ask(client: httpx.Client, url: str) -> float:
    """The seconds of a prediction on a connection of its own. Making a client takes longer than that."""
    start = time.monotonic()
    assert client.post(f"{url}/predict", json=ROWS).status_code == 200
    return time.monotonic() - start
