"""What was answered is logged and finds its labels; rows that moved bring out a better version without a hand."""

from __future__ import annotations

import csv
import itertools
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_iris

from tests.e2e.airflow import SERVE, TRAIN, Airflow
from tests.e2e.labels import COLLECT, LOG_SECONDS, MONITOR, RETRAIN, answer, label
from tests.e2e.stack import Stack
from tests.waiting import wait_until

WINDOW_SECONDS = 36
SHORT_WINDOWS = f"\n[drift]\nwindow_hours = {WINDOW_SECONDS / 3600}\n"
BATCH = 8
"""Rows of one request of the moved traffic."""


@pytest.fixture(autouse=True)
def _one_version_serves(trained: str) -> None:
    """Every test begins with a version of iris that answers."""


def read_state(stack: Stack) -> dict[str, object]:
    """What the start page shows of iris."""
    found = httpx.get(f"{stack.gateway}/status/loop", timeout=60)
    assert found.status_code == 200, found.text
    [state] = [model for model in found.json()["models"] if model["name"] == "iris"]
    return dict(state)


def test_an_answer_is_logged_finds_its_label_and_is_answered_again(stack: Stack, airflow: Airflow) -> None:
    trace_id = secrets.token_hex(16)
    traced = answer(stack, [[5.1, 3.5, 1.4, 0.2]], traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-01")
    ids = [answer(stack, [[5.1, 3.5, 1.4, 0.2]], **{"X-Request-Id": f"order-{number}"}) for number in range(20)]
    assert stack.predict([["long", 3.5, 1.4, 0.2]]).status_code == 422
    labels: list[dict[str, object]] = [{"request_id": request_id, "label": 0} for request_id in ids[:10]]
    label(stack, [*labels, *({"client_request_id": f"order-{number}", "label": 1} for number in range(10, 15))])
    find_in_logs(stack, trace_id, traced)
    # A segment is closed after a minute, or by the end of its replica.
    stack.compose("restart", "serving", "serving-canary")
    wait_until(lambda: stack.read_version("iris", [5.1, 3.5, 1.4, 0.2]), 300, "a replica answers again")

    states = airflow.expect_success(COLLECT, airflow.trigger(COLLECT))
    assert {name: state for name, (state, _) in states.items()}.get("collect") == "success", states
    rows = stack.query_warehouse("SELECT sum(rows), sum(refused) FROM warehouse.prediction_batch WHERE model = 'iris'")
    logged, refused = map(int, rows.split("|"))
    assert logged >= 20
    assert refused >= 1
    told = stack.mlops("feedback", "iris")
    assert told.returncode == 0, told.stderr
    counted = re.search(r"^iris\s+(\d+)", told.stdout, re.MULTILINE)
    assert counted, told.stdout
    assert int(counted[1]) >= 15
    replayed = stack.mlops("replay-request", ids[0])
    assert replayed.returncode == 0, replayed.stderr
    [row] = csv.DictReader(replayed.stdout.splitlines())
    assert row["prediction"] == row["replayed"]
    [row] = csv.DictReader(stack.mlops("replay-request", traced).stdout.splitlines())
    assert row["trace_id"] == trace_id

    airflow.expect_success(MONITOR, airflow.trigger(MONITOR))
    state = read_state(stack)
    assert "problem" not in state, state
    assert state["champion"]


def find_in_logs(stack: Stack, trace_id: str, request_id: str) -> None:
    """Waits until the gateway and one replica have logged a request under its trace."""

    def find() -> bool:
        lines = stack.compose("logs", "--no-log-prefix", "nginx", "serving", "serving-canary").stdout.splitlines()
        of_gateway, of_replica = f'"trace_id":"{trace_id}","request_id":"{request_id}"', f"[trace_id={trace_id} "
        return all(sum(text in line for line in lines) == 1 for text in (of_gateway, of_replica))

    wait_until(find, 60, "the logs of the gateway and of a replica have the trace")


@pytest.fixture
def short_windows(stack: Stack) -> Iterator[None]:
    """Windows of seconds instead of days."""
    file = stack.folder / "ml_code/catalog/iris.toml"
    before = file.read_text()
    file.write_text(before + SHORT_WINDOWS)
    yield
    file.write_text(before)


@pytest.mark.long
@pytest.mark.usefixtures("short_windows")
def test_rows_that_moved_bring_out_a_better_version_without_a_hand(stack: Stack, airflow: Airflow) -> None:
    before = serve_forest(stack, airflow)
    started = time.monotonic()
    labels = list(send_moved_rows(stack, windows=3))
    label(stack, labels)
    time.sleep(LOG_SECONDS)
    airflow.expect_success(COLLECT, airflow.trigger(COLLECT))
    retrainings, rollouts = airflow.list_runs(RETRAIN), airflow.list_runs(SERVE)
    airflow.expect_success(MONITOR, airflow.trigger(MONITOR))
    airflow.expect_success(RETRAIN, airflow.wait_for_new_run(RETRAIN, retrainings))
    airflow.expect_success(SERVE, airflow.wait_for_new_run(SERVE, rollouts))
    after = wait_until(
        lambda: (version := stack.read_version("iris", [5.1, 3.5, 1.4, 0.2])) != before and version, 60, "it serves"
    )
    print(f"\nmoved rows in, version {before} -> {after} out in {time.monotonic() - started:.0f} s")
    assert time.monotonic() - started < 600
    why = stack.query_warehouse("SELECT outcome, labels FROM warehouse.retraining ORDER BY retraining_id DESC LIMIT 1")
    assert why.startswith("promoted|")
    moved = make_moved_rows(0, 150)
    found = stack.predict(moved.tolist()).json()["predictions"]
    assert np.mean(np.asarray(found, int) == load_iris().target) > 0.9
    check_that_it_is_quiet(stack, airflow, before, str(after))


def check_that_it_is_quiet(stack: Stack, airflow: Airflow, before: str, after: str) -> None:
    """Three further windows of moved rows are clean for the new version, and its live metric is better."""
    retrainings = airflow.list_runs(RETRAIN)
    label(stack, list(send_moved_rows(stack, windows=3, first=10_000)))
    time.sleep(LOG_SECONDS)
    airflow.expect_success(COLLECT, airflow.trigger(COLLECT))
    airflow.expect_success(MONITOR, airflow.trigger(MONITOR))
    judged = f"FROM warehouse.drift_window WHERE model = 'iris' AND version = '{after}' AND rows >= 50"
    verdicts = stack.query_warehouse(f"SELECT string_agg(verdict, ' ' ORDER BY window_start) {judged}").split()
    assert len(verdicts) >= 3
    assert set(verdicts) == {"clean"}, stack.query_warehouse(f"SELECT window_start, verdict, rows, figures {judged}")
    assert airflow.list_runs(RETRAIN) == retrainings
    old, new = (
        float(
            stack.query_warehouse(
                "SELECT sum(score * labelled) / sum(labelled) FROM warehouse.live_metric WHERE model = 'iris' "
                f"AND version = '{version}' AND slice = '' AND variant <> 'shadow' AND labelled >= 200"
            )
        )
        for version in (before, after)
    )
    print(f"live metric {old:.3f} of version {before}, {new:.3f} of version {after}; windows {verdicts}")
    assert new > old + 0.2
    assert str(read_state(stack)["retraining"]).count("was rolled out") == 1


def serve_forest(stack: Stack, airflow: Airflow) -> str:
    """The version of a forest that serves: it learns rows elsewhere without forgetting the old ones."""
    newest = "SELECT max(to_version::int) FROM warehouse.rollout WHERE model = 'iris'"
    before = stack.query_warehouse(newest)
    airflow.run(TRAIN, dataset="iris", model_type="sklearn", estimator="random_forest", force=True)
    version = wait_until(
        lambda: (found := stack.query_warehouse(newest)) != before and found, 300, "the forest's rollout begins"
    )
    done = stack.mlops("promote", "iris", version, "--why", "a forest for this test")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: stack.read_version("iris", [5.1, 3.5, 1.4, 0.2]) == version, 60, "the forest serves")
    airflow.wait_for_quiet()
    return version


def send_moved_rows(stack: Stack, windows: int, first: int = 0) -> Iterator[dict[str, object]]:
    """Sends irises that are 12 cm larger for whole windows, from the request number `first` on; yields their labels."""
    wait_for_window()
    end = time.time() + windows * WINDOW_SECONDS
    for number in itertools.count(first):
        if time.time() > end:
            return
        rows = make_moved_rows(number, BATCH)
        request_id = answer(stack, rows.tolist())
        for row in range(BATCH):
            target = int(load_iris().target[(number * BATCH + row) % 150])
            yield {"request_id": request_id, "row": row, "label": target}
        time.sleep(0.5)


def make_moved_rows(number: int, count: int) -> np.ndarray:  # type: ignore[type-arg]
    """Rows like those of the table, each a little different, and 12 cm larger; in the table's order."""
    places = (number * BATCH + np.arange(count)) % 150
    random = np.random.default_rng(number)
    return np.round(load_iris().data[places] + 12 + random.normal(0, 0.05, (count, 4)), 3)


def wait_for_window() -> None:
    """Waits until a window begins."""
    now = datetime.now(UTC).timestamp()
    time.sleep(WINDOW_SECONDS - now % WINDOW_SECONDS)
