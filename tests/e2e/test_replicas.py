"""Replicas that die, hang, come and go under constant arrival, without a rollout.

Each fault is tried once in every push; `make test-long` repeats them and asks for the latencies as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest
import tritonclient.http as triton

from tests.benchmarks.load import LoadReport
from tests.e2e.publishing import Publisher, find_version
from tests.e2e.reliability import check_report, load_seconds
from tests.e2e.stack import Stack, docker
from tests.e2e.traffic import Traffic
from tests.unit.serving.onnx_files import make_classifier
from tests.waiting import wait_until

RATE_PER_SECOND = 200
READ_TIMEOUT_MS = 15_000
"""`proxy_read_timeout` of the gateway."""

SIGNAL_ALL = "import os, sys; os.kill(-1, int(sys.argv[1]))"
"""Sends a signal to every process of a container but its first one, which only waits for them."""

SIGKILL, SIGCONT, SIGSTOP = "9", "18", "19"

type Drive = Callable[[Callable[[], object]], LoadReport]


@pytest.fixture(scope="module")
def publisher(stack: Stack) -> Iterator[Publisher]:
    with closing(Publisher(stack)) as publisher:
        publisher.serve(publisher.publish(make_classifier()))
        yield publisher


@pytest.fixture(autouse=True)
def _whole_fleet(stack: Stack, publisher: Publisher) -> Iterator[None]:
    """Two stable replicas and a canary after each test, whatever it has left."""
    yield
    stack.compose("up", "--detach", "--no-recreate", "mlflow", "minio", "serving", "serving-canary")

    def is_whole() -> bool:
        champions = [find_version(state, publisher.model) for state in stack.ask_fleet("/readyz").values()]
        return len(champions) == 3 and len(set(champions) - {None}) == 1

    wait_until(is_whole, 400, "three replicas answer with one version")


def signal_all(container: str, number: str) -> None:
    docker("exec", container, "python", "-c", SIGNAL_ALL, number)


def crash(container: str) -> None:
    """The service dies; its restart policy brings it back."""
    signal_all(container, SIGKILL)


def kill_for_good(container: str) -> None:
    docker("kill", container)


def stop(container: str) -> None:
    docker("stop", container)


@pytest.fixture
def drive(stack: Stack, repeat: int) -> Drive:
    """Constant arrival while something happens, with some seconds before it and after."""

    def run(act: Callable[[], object]) -> LoadReport:
        with Traffic(f"{stack.gateway}/predict", rate_per_second=RATE_PER_SECOND) as traffic:
            time.sleep(load_seconds(2, is_long=repeat > 0))
            act()
            time.sleep(load_seconds(4, is_long=repeat > 0))
        return traffic.report

    return run


@pytest.mark.parametrize("kill", [crash, pytest.param(kill_for_good, marks=pytest.mark.long)])
def test_kill_9_of_a_replica_loses_no_request(
    stack: Stack, drive: Drive, kill: Callable[[str], None], repeat: int
) -> None:
    victim = stack.containers("serving")[0]
    report = drive(lambda: kill(victim))
    check_report(f"kill -9 ({kill.__name__}) {repeat}", report, p999_ms=100 if repeat else math.inf)


@pytest.mark.long
def test_sigterm_of_a_replica_loses_no_request(stack: Stack, drive: Drive, repeat: int) -> None:
    victim = stack.containers("serving")[0]
    report = drive(lambda: stop(victim))
    check_report(f"SIGTERM {repeat}", report, worst_ms=READ_TIMEOUT_MS + 100)


def test_a_replica_that_hangs_for_seven_seconds_loses_no_request(stack: Stack, drive: Drive, repeat: int) -> None:
    victim = stack.containers("serving")[0]

    def hang() -> None:
        signal_all(victim, SIGSTOP)
        time.sleep(7)
        signal_all(victim, SIGCONT)

    report = drive(hang)
    check_report(f"SIGSTOP for 7 s {repeat}", report, worst_ms=READ_TIMEOUT_MS + 100 if repeat else math.inf)


def test_a_replica_that_restarts_without_mlflow_and_store_serves_the_last_version(
    stack: Stack, publisher: Publisher, drive: Drive, repeat: int
) -> None:
    [version] = publisher.read_fleet()
    victim = stack.containers("serving")[0]
    stack.compose("stop", "mlflow", "minio")

    def restart() -> None:
        docker("restart", victim)
        started = time.monotonic()
        wait_until(lambda: publisher.read_fleet() == {version}, 240, f"every replica answers with {version}")
        print(f"\na replica restarted without MLflow and store answers after {time.monotonic() - started:.0f} s")

    try:
        report = drive(restart)
    finally:
        stack.compose("up", "--detach", "--no-recreate", "--wait", "mlflow", "minio")
    check_report(f"restart without MLflow and store {repeat}", report)
    assert set(report.versions) == {version}


def test_scaling_up_and_down_loses_no_request(stack: Stack, drive: Drive, repeat: int) -> None:
    def count_answering() -> int:
        metrics = stack.ask_fleet("/metrics").values()
        return sum("mlops_prediction_rows_total{" in str(text) for text in metrics)

    def scale() -> None:
        stack.compose("up", "--detach", "--no-recreate", "--scale", "serving=4", "serving")
        wait_until(lambda: count_answering() == 5, 300, "four stable replicas and the canary answer")
        stack.compose("up", "--detach", "--no-recreate", "--scale", "serving=2", "serving")

    report = drive(scale)
    check_report(f"scaling to 4 and back {repeat}", report)
    assert len(stack.containers("serving")) == 2


def test_a_client_of_the_inference_protocol_is_answered_through_the_gateway(stack: Stack, publisher: Publisher) -> None:
    [version] = publisher.read_fleet()
    with closing(triton.InferenceServerClient(stack.gateway.removeprefix("http://"))) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("iris", version)
        rows = triton.InferInput("rows", [2, 4], "FP32")
        rows.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]], np.float32), binary_data=False)
        answer = client.infer("iris", [rows])
    assert answer.get_response()["model_version"] == version
    assert answer.as_numpy("predictions").tolist() == [0, 1]
