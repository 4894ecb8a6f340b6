"""What a stranger can do to a rollout, with real replicas: never promote a bad version, never condemn a good one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from serving.errors import BreachError, InconclusiveError
from tests.integration.serving.replica import wait_until
from tests.integration.serving.rollout_stack import RolloutStack, measure_window, roll_out
from tests.unit.serving.bad_files import BAD_ROWS, CALM_ROWS, make_bad_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

PERSON_SECONDS = 0.02
"""Pause between two requests of people: fifty a second at most, a twentieth of what an attacker sends."""

EXTREME = [[3e38, -3e38, 3e38, -3e38], [1e-38, 0, 0, 0], [-3e38, 3e38, -3e38, 3e38], [None, None, None, None]]
HERS = {"X-Test-Address": "203.0.113.9"}


@pytest.fixture(scope="module")
def stack(rollout_stack: RolloutStack) -> RolloutStack:
    return rollout_stack


@pytest.fixture(scope="module")
def champion(stack: RolloutStack) -> str:
    return roll_out(stack, stack.register(make_bad_classifier())).to_version


def list_people() -> Iterator[dict[str, str]]:
    """Each with a name and an address; no multiple of the bodies, so that each of them sends all of those."""
    for number in itertools.cycle(range(401)):
        yield {"X-User-Id": f"person-{number}", "X-Test-Address": f"198.51.{number // 200}.{number % 200}"}


def invent_users() -> Iterator[dict[str, str]]:
    """Ten thousand users of one address."""
    for number in itertools.cycle(range(10_000)):
        yield {"X-User-Id": f"invented-{number}", **HERS}


@contextmanager
def ask(
    stack: RolloutStack, bodies: Sequence[Any], senders: Iterator[Mapping[str, str]], pause_seconds: float = 0.0
) -> Iterator[None]:
    """A client that sends one request after the other."""
    has_ended = threading.Event()

    def run() -> None:
        with httpx.Client(timeout=60) as client:
            for body, headers in zip(itertools.cycle(bodies), senders, strict=False):
                client.post(f"{stack.gateway.url}/models/iris/predict", json=body, headers=dict(headers))
                if has_ended.wait(pause_seconds):
                    return

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(run)
        try:
            yield
        finally:
            has_ended.set()
    asking.result()


FIFTH_BAD = [[row] for bad in BAD_ROWS for row in (*CALM_ROWS, bad)]
CALM = [[row] for row in CALM_ROWS]

DILUTIONS = {
    "forced good requests": itertools.repeat({"X-Variant": "canary", **HERS}),
    "one client with most of the traffic": itertools.repeat({"X-User-Id": "eve", **HERS}),
    "foreign replays": itertools.repeat({"X-Replay": "1", **HERS}),
    "invented users": invent_users(),
}
TOGETHER = "all of them at once"


@pytest.mark.parametrize("attack", [TOGETHER, *(pytest.param(name, marks=pytest.mark.long) for name in DILUTIONS)])
def test_good_requests_of_a_stranger_do_not_hide_the_failures_of_people(
    stack: RolloutStack, champion: str, attack: str
) -> None:
    version = stack.register(make_bad_classifier("errors"))
    senders = DILUTIONS.values() if attack == TOGETHER else [DILUTIONS[attack]]
    with ExitStack() as clients:
        clients.enter_context(ask(stack, FIFTH_BAD, list_people(), PERSON_SECONDS))
        for sender in senders:
            clients.enter_context(ask(stack, CALM, sender))
        ended = clients.enter_context(pytest.raises(BreachError, match=r"errors: found .* of .* senders"))
        # Not longer: in the first third of the window a tenth of the people get the version.
        roll_out(stack, version, window_seconds=measure_window(stack, 3000, least_seconds=20))
    assert not isinstance(ended.value, InconclusiveError)
    assert stack.aliases() == {"champion": champion}
    assert stack.version_tags(version)["rollout"] == "aborted"


def test_odd_requests_of_strangers_do_not_keep_a_good_version_from_its_promotion(
    stack: RolloutStack, champion: str
) -> None:
    version = stack.register(make_bad_classifier())
    forged = {"X-Pool": "canary", "X-Pool-Choice": "drawn", "X-Canary": "1", "X-Replay": "1", "X-Variant": "canary"}
    with ExitStack() as attacks:
        attacks.enter_context(ask(stack, CALM, list_people(), PERSON_SECONDS))
        for bodies, senders, pause_seconds in (
            ([[row] for row in EXTREME], invent_users(), 0.01),
            ([[["no", "number", "at", "all"]], [[1]], "text"], itertools.repeat(HERS), 0.01),
            ([[BAD_ROWS[0]]], itertools.repeat({"X-User-Id": "eve", **HERS}), 0.01),
            ([[CALM_ROWS[0]] * 5_000], itertools.repeat(forged), 0.1),
        ):
            attacks.enter_context(ask(stack, bodies, senders, pause_seconds))
        done = roll_out(stack, version, window_seconds=6)
    assert done.state == "promoted"
    assert stack.aliases() == {"champion": version, "previous": champion}


def test_rows_that_one_address_alone_sends_condemn_no_version(stack: RolloutStack) -> None:
    before, version = stack.aliases()["champion"], stack.register(make_bad_classifier("nan"))
    with (
        ask(stack, CALM, list_people(), PERSON_SECONDS),
        ask(stack, [[row] for row in BAD_ROWS], invent_users()),
        pytest.raises(InconclusiveError, match="not a number"),
    ):
        roll_out(stack, version, window_seconds=measure_window(stack, 800, least_seconds=6))
    assert stack.aliases()["champion"] == before
    assert stack.version_tags(version)["rollout"] == "inconclusive"
    wait_until(lambda: stack.served()["canary"] == {"champion": before}, stack.served)
