"""A version is compared with the champion by labels, as a shadow and as an A/B test, and a better one is rolled out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sklearn.datasets import load_iris

from tests.e2e.airflow import Airflow
from tests.e2e.labels import COLLECT, LOG_SECONDS, label
from tests.e2e.publishing import Publisher, make_good
from tests.e2e.rollouts import Rollouts
from tests.e2e.stack import Stack
from tests.unit.serving.onnx_files import make_classifier
from tests.waiting import wait_until

pytestmark = pytest.mark.long

AB_TEST = "ab_test"
LOOK_SECONDS = 15
USERS = 900
"""The canary pool has a tenth of them, and a verdict needs 50."""

ROWS = 4
"""Of each user."""


@dataclass(frozen=True, slots=True)
class Versions:
    """A champion that names one species for every flower, and a version that tells them apart."""

    poor: str
    good: str


@pytest.fixture(scope="module", autouse=True)
def _frequent_looks(stack: Stack) -> Iterator[None]:
    """Looks every few seconds instead of minutes."""
    file = stack.folder / "dags/ab_test.py"
    before = file.read_text()
    changed = before.replace("LOOK_SECONDS = 300", f"LOOK_SECONDS = {LOOK_SECONDS}")
    assert changed != before
    file.write_text(changed)
    yield
    file.write_text(before)


@pytest.fixture(scope="module")
def versions(publisher: Publisher, airflow: Airflow, trained: str) -> Iterator[Versions]:
    good = publisher.publish(make_good())
    poor = publisher.publish(make_classifier(answer=0))
    publisher.serve(poor)
    yield Versions(poor, good)
    airflow.wait_for_quiet()
    publisher.serve(trained)


def start(stack: Stack, airflow: Airflow, version: str, mode: str, **more: object) -> str:
    """Begins a test, and waits until labels are compared; returns the run's id."""
    run_id = airflow.trigger(AB_TEST, model="iris", version=version, mode=mode, minimum_rows=200, **more)

    def is_comparing() -> bool:
        assert not airflow.find_end(AB_TEST, run_id), airflow.task_states(AB_TEST, run_id)
        return read_row(stack, version)["state"] == "comparing"

    wait_until(is_comparing, 600, lambda: f"version {version} is compared: {read_row(stack, version)}")
    return run_id


def read_row(stack: Stack, version: str) -> dict[str, str]:
    """The newest test or rollout of a version in the warehouse."""
    columns = ("kind", "state", "verdict", "rows", "reason")
    found = stack.query_warehouse(
        "SELECT kind, state, figures -> 'experiment' ->> 'verdict', figures -> 'experiment' ->> 'rows', reason "
        f"FROM warehouse.rollout WHERE model = 'iris' AND to_version = '{version}' ORDER BY rollout_id DESC LIMIT 1"
    )
    return dict(zip(columns, found.split("|"), strict=True)) if found else dict.fromkeys(columns, "")


def send_labelled_flowers(stack: Stack, airflow: Airflow) -> set[str]:
    """Asks as many users for the species of some flowers, sends the true ones, and has both collected.

    Returns:
        The versions that answered.
    """
    table = load_iris()
    versions, labels = set(), []
    for user in range(USERS):
        places = [(user * ROWS + row) % len(table.data) for row in range(ROWS)]
        rows = [[float(value) for value in table.data[place]] for place in places]
        found = stack.predict(rows, **{"X-User-Id": f"user-{user}"})
        assert found.status_code == 200, found.text
        versions.add(found.headers["X-Model-Version"])
        request_id = found.headers["X-Request-Id"]
        labels += [
            {"request_id": request_id, "row": row, "label": int(table.target[place])}
            for row, place in enumerate(places)
        ]
    label(stack, labels)
    time.sleep(LOG_SECONDS)
    airflow.expect_success(COLLECT, airflow.trigger(COLLECT))
    return versions


def test_a_shadow_is_compared_and_answers_nobody(
    stack: Stack, airflow: Airflow, rollouts: Rollouts, versions: Versions
) -> None:
    began = time.monotonic()
    run_id = start(stack, airflow, versions.good, "shadow")
    assert rollouts.read()["rollout"]["kind"] == "shadow"
    assert send_labelled_flowers(stack, airflow) == {versions.poor}
    tasks = airflow.expect_success(AB_TEST, run_id)
    print(f"\nshadow: {time.monotonic() - began:.0f} s; {read_row(stack, versions.good)}")
    assert tasks["promote"][0] == "skipped"
    check_verdict(stack, rollouts, versions.good, "shadow")
    assert stack.read_version("iris", [5.1, 3.5, 1.4, 0.2]) == versions.poor


def check_verdict(stack: Stack, rollouts: Rollouts, version: str, kind: str) -> None:
    """The verdict is in the warehouse, and where people look."""
    row = read_row(stack, version)
    assert (row["kind"], row["state"], row["verdict"]) == (kind, "compared", "better"), row
    assert int(row["rows"]) >= 200
    told: dict[str, Any] = rollouts.read()["rollout"]
    assert (told["kind"], told["state"], told["verdict"]) == (kind, "compared", "better"), told
    assert told["figures"]["experiment"]["rows"] == int(row["rows"])


def test_a_version_that_is_withdrawn_ends_its_shadow(
    stack: Stack, airflow: Airflow, publisher: Publisher, rollouts: Rollouts, versions: Versions
) -> None:
    version = publisher.publish(make_good())
    run_id = start(stack, airflow, version, "shadow")
    publisher.withdraw("shadow")
    assert airflow.wait_for_run(AB_TEST, run_id) == "failed"
    states = {name: state for name, (state, _) in airflow.task_states(AB_TEST, run_id).items()}
    assert states["compare"] == "failed"
    assert states["abort"] == "success", states
    row = read_row(stack, version)
    assert row["state"] == "inconclusive", row
    assert "withdrawn" in row["reason"]
    assert rollouts.read()["rollout"]["state"] == "inconclusive"
    wait_until(
        lambda: all(not state["shadows"] for state in stack.ask_fleet("/readyz").values()), 60, "no replica shadows"
    )
    assert stack.read_version("iris", [5.1, 3.5, 1.4, 0.2]) == versions.poor
    assert publisher.read_model()["aliases"].get("shadow") is None


def test_a_version_that_answers_its_users_better_is_rolled_out_if_asked(
    stack: Stack, airflow: Airflow, rollouts: Rollouts, versions: Versions
) -> None:
    began = time.monotonic()
    run_id = start(stack, airflow, versions.good, "ab", promote=True)
    assert f"comparing: version {versions.good}" in stack.mlops("models").stdout
    assert send_labelled_flowers(stack, airflow) == {versions.poor, versions.good}
    tasks = airflow.expect_success(AB_TEST, run_id)
    compared = stack.query_warehouse(
        "SELECT reason FROM warehouse.rollout WHERE kind = 'ab' AND model = 'iris' ORDER BY rollout_id DESC LIMIT 1"
    )
    assert compared.startswith("better: ")
    assert tasks["promote"][0] == "success"
    told = rollouts.wait_for_end(versions.good, 300)
    print(f"\nab: {time.monotonic() - began:.0f} s; {compared}")
    assert (told["kind"], told["state"]) == ("rollout", "promoted"), told
    wait_until(lambda: stack.read_version("iris", [5.1, 3.5, 1.4, 0.2]) == versions.good, 60, "it serves")
