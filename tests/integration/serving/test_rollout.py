"""Rollouts with real replicas, MLflow and Postgres: promoted, or ended in each way in which a version may be bad."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from serving.errors import BreachError, RolloutLostError, StandsAsideError
from serving.rollout import steps, validation
from serving.rollout.control import RolloutControl
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from tests.integration.serving.replica import wait_until
from tests.integration.serving.rollout_stack import (
    EXACT_RULES,
    RULES,
    RolloutStack,
    measure_window,
    roll_out,
)
from tests.unit.serving.bad_files import (
    BAD_ROWS,
    CALM_ROWS,
    make_bad_classifier,
    make_crashing,
    make_slow_to_open,
)
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

MANY_BAD_ROWS = [[row[0] - step / 100, *row[1:]] for step in range(12) for row in BAD_ROWS]
"""Without names of users, an address's different rows are its senders."""


@pytest.fixture(scope="module")
def stack(rollout_stack: RolloutStack) -> RolloutStack:
    return rollout_stack


@pytest.fixture(scope="module")
def champion(stack: RolloutStack) -> str:
    """The first version, rolled out."""
    version = stack.register(make_bad_classifier())
    done = roll_out(stack, version)
    assert (done.state, done.reason) == ("promoted", "the first version")
    return version


@contextmanager
def people(stack: RolloutStack, rows: Sequence[Sequence[float]]) -> Iterator[Counter[str]]:
    """Some who ask all the time, a third of them in the canary pool; which version answered with which status."""
    seen: Counter[str] = Counter()
    has_ended = threading.Event()

    def ask(rows: Iterator[Sequence[float]]) -> None:
        with httpx.Client(timeout=60) as client:
            while not has_ended.is_set():
                answer = client.post(f"{stack.gateway.url}/models/iris/predict", json=[list(next(rows))])
                seen[f"{answer.headers['X-Model-Version']} {answer.status_code}"] += 1
                time.sleep(0.005)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, itertools.cycle(rows[i:] + rows[:i])) for i in range(4)]  # type: ignore[operator]
        try:
            yield seen
        finally:
            has_ended.set()
    for person in asking:
        person.result()


def assert_old_version_serves(stack: RolloutStack, version: str, bad: str) -> None:
    assert stack.aliases()["champion"] == version
    assert "challenger" not in stack.aliases()
    wait_until(lambda: stack.served()["canary"] == {"champion": version}, stack.served)
    assert stack.served()["stable"] == {"champion": version}
    assert stack.version_tags(bad)["rollout"] in {"aborted", "inconclusive"}
    assert stack.control("test").rows.find_active("iris") is None


def test_a_good_version_is_promoted_beside_people(stack: RolloutStack, champion: str) -> None:
    version = stack.register(make_bad_classifier())
    with people(stack, CALM_ROWS) as seen:
        done = roll_out(stack, version, window_seconds=measure_window(stack, 1200, least_seconds=4))
    assert done.state == "promoted"
    assert done.figures["canary"]["replayed"] == 100
    assert done.figures["canary"]["live"] >= 60
    assert stack.aliases() == {"champion": version, "previous": champion}
    assert set(seen) == {f"{champion} 200", f"{version} 200"}
    back = roll_back(stack.control("ada@lab"), "iris", "only a test")
    assert back.to_version == champion
    wait_until(lambda: stack.served()["stable"] == {"champion": champion}, stack.served)


def test_where_nobody_asks_the_holdout_is_replayed(stack: RolloutStack, champion: str) -> None:
    version = stack.register(make_bad_classifier())
    done = roll_out(stack, version, window_seconds=2)
    assert done.state == "promoted"
    assert (done.figures["canary"]["live"], done.figures["canary"]["replayed"]) == (0, 100)
    run = stack.control("model_rollback/one", run_url="http://airflow/one")
    assert roll_back(run, "iris", "only a test") == roll_back(run, "iris", "tried again")
    wait_until(lambda: stack.served()["stable"] == {"champion": champion}, stack.served)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("slow", "latency"),
        ("constant", "answers"),
        # In every push errors end a rollout of the compose stack, and test_attacks.py has a version that answers NaN.
        pytest.param("errors", "errors", marks=pytest.mark.long),
        pytest.param("nan", "not a number", marks=pytest.mark.long),
    ],
)
def test_a_version_that_behaves_badly_is_ended_on_the_requests_of_people(
    stack: RolloutStack, champion: str, fault: str, cause: str
) -> None:
    version = stack.register(make_bad_classifier(fault))  # type: ignore[arg-type]
    rows = [row for bad in MANY_BAD_ROWS for row in (*CALM_ROWS, bad)] if fault == "errors" else MANY_BAD_ROWS
    started = time.monotonic()
    rules = EXACT_RULES if fault == "slow" else RULES
    with people(stack, rows) as seen, pytest.raises(BreachError, match=cause):
        # Not longer: the canary's share of people grows in thirds of the window, and some faults need most of them.
        roll_out(stack, version, window_seconds=measure_window(stack, 1600, least_seconds=8), rules=rules)
    print(f"\n{fault}: ended after {time.monotonic() - started:.0f} s; {dict(seen)}")
    assert_old_version_serves(stack, champion, version)
    assert cause in stack.version_tags(version)["rollout_reason"]
    assert seen[f"{champion} 200"] > seen[f"{version} 200"] + seen[f"{version} 500"]
    assert seen[f"{champion} 500"] == 0


BAD_FILES = {
    "truncated": (make_bad_classifier()[:-500], None, "cannot open"),
    "wrong digest": (make_bad_classifier(), "0" * 64, "truncated or altered"),
    "not ONNX": (b"<html>not found</html>", None, "cannot open"),
    "other schema": (
        make_bad_classifier(names=("sepal_length", "sepal_width", "petal_length", "colour")),
        None,
        "schema",
    ),
    "other dataset": (make_mixed_regressor(), None, "of the dataset ships"),
    "golden differs": (make_classifier(golden_predictions=[2, 2, 2]), None, "golden row"),
    "slow load": (make_slow_to_open(), None, "was not validated after"),
    "crash at load": (make_crashing(), None, "ends its process by SIGSEGV"),
    "missing": (None, None, "its file is missing"),
}


@pytest.mark.parametrize("way", BAD_FILES)
def test_a_bad_file_is_refused_before_anything_serves_it(
    stack: RolloutStack, champion: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, digest, cause = BAD_FILES[way]
    if way == "slow load":
        monkeypatch.setattr(validation, "WALL_SECONDS", 4.0)
    version = stack.register(content, digest=digest)
    started = time.monotonic()
    with pytest.raises(BreachError, match=cause):
        roll_out(stack, version)
    print(f"\n{way}: ended after {time.monotonic() - started:.0f} s")
    assert time.monotonic() - started < 240
    assert_old_version_serves(stack, champion, version)
    with pytest.raises(StandsAsideError, match="serving already"):
        open_rollout(stack.control("test/next"), "iris")


def test_two_rollouts_at_once_have_one_outcome(stack: RolloutStack, champion: str) -> None:
    versions = [stack.register(make_bad_classifier()) for _ in range(2)]

    def attempt(version: str) -> str:
        try:
            return roll_out(stack, version, window_seconds=2).state
        except StandsAsideError as error:
            return type(error).__name__

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, versions))
    assert "promoted" in outcomes, outcomes
    last = stack.aliases()["champion"]
    assert last in versions
    wait_until(lambda: stack.served() == {"stable": {"champion": last}, "canary": {"champion": last}}, stack.served)
    assert stack.control("test").rows.find_active("iris") is None


def test_a_newer_version_takes_the_place_of_a_canary(stack: RolloutStack) -> None:
    before = stack.aliases()["champion"]
    older, newer = stack.register(make_bad_classifier()), stack.register(make_bad_classifier())
    control = stack.control("test/older")
    number = open_rollout(control, "iris", older).rollout_id
    steps.start_canary(control, number)
    assert roll_out(stack, newer, window_seconds=1).state == "promoted"
    assert stack.aliases() == {"champion": newer, "previous": before}
    with pytest.raises(RolloutLostError, match=f"version {newer} takes its place"):
        steps.wait_for_canary(control, number)


def test_an_interrupted_rollout_is_taken_over_when_its_lease_ends(stack: RolloutStack) -> None:
    version = stack.register(make_bad_classifier())
    dead = stack.control("test/dead", lease_seconds=3.0)
    number = open_rollout(dead, "iris", version).rollout_id
    steps.start_canary(dead, number)
    assert roll_out(stack, version, window_seconds=1, owner="test/heir").rollout_id == number
    assert stack.aliases()["champion"] == version


def test_a_canary_whose_controller_died_closes_automatically(stack: RolloutStack) -> None:
    champion, version = stack.aliases()["champion"], stack.register(make_bad_classifier())
    dead: RolloutControl = stack.control("test/dead", lease_seconds=4.0)
    number = open_rollout(dead, "iris", version).rollout_id

    def is_open() -> bool:
        # Until it dies the controller keeps the canary open, however long a slow replica takes to fetch the version.
        steps.start_canary(dead, number)
        return stack.served()["canary"].get("challenger") == version

    wait_until(is_open, stack.served)
    wait_until(lambda: stack.served()["canary"] == {"champion": champion}, stack.served)
    steps.clean_up(dead, number, "only a test")


def test_a_version_has_one_spelling(stack: RolloutStack, champion: str) -> None:
    registry = stack.control("test").registry
    assert registry.read_tags("iris", champion) is not None
    in_wide_digits = "".join(chr(ord("\uff10") + int(digit)) for digit in champion)
    for spelling in (f"0{champion}", in_wide_digits, "9" * 20):
        assert registry.read_tags("iris", spelling) is None


def test_a_run_of_a_rollback_that_is_repeated_goes_back_once(stack: RolloutStack) -> None:
    before, version = stack.aliases()["champion"], stack.register(make_bad_classifier())
    promote_by_hand(stack.control("ada@lab"), "iris", version, "only a test")
    control = stack.control("model_rollback/run", run_url="http://airflow/run")
    first = roll_back(control, "iris", "only a test")
    assert roll_back(control, "iris", "only a test") == first
    assert stack.aliases()["champion"] == before


def test_a_version_that_was_deleted_keeps_no_rollback_from_its_end(stack: RolloutStack) -> None:
    versions = [stack.register(make_bad_classifier()) for _ in range(3)]
    for version in versions:
        promote_by_hand(stack.control("ada@lab"), "iris", version, "only a test")
    stack.client.delete_model_version("iris", versions[0])
    assert roll_back(stack.control("ada@lab"), "iris", "only a test").to_version == versions[1]
    assert stack.aliases() == {"champion": versions[1]}
    assert stack.control("test").rows.find_active("iris") is None
