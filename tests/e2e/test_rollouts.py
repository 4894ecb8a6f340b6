"""Rollouts under constant arrival, of good versions and of bad ones.

Every push has one of each kind; `make test-long` has every way to be bad, repeats, and asks for the latencies as well.
What each way ends with is tested on real replicas in tests/integration/serving/test_rollout.py.
"""

from __future__ import annotations

import hashlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ml_code.model_file.onnx_model import OnnxModel
from serving.rollout.order import STEPS
from tests.e2e.airflow import SERVE, Airflow
from tests.e2e.publishing import Publisher, make_good
from tests.e2e.reliability import check_report, load_seconds
from tests.e2e.rollouts import ENDS, Rollouts
from tests.e2e.stack import Stack, docker
from tests.e2e.traffic import Traffic, make_rows
from tests.unit.serving.bad_files import Fault, make_bad_classifier, make_crashing, make_slow_to_open
from tests.unit.serving.onnx_files import IRIS, make_classifier
from tests.waiting import wait_until

ABORT_SECONDS = 180
RECOVER_SECONDS = 60
SERIES = 30
RACES = 20
KILL_SECONDS = "0.1"
KILLED = 128 + signal.SIGKILL
LONG = pytest.mark.long

SHORT_RULES = {"window_seconds": 10, "latency_margin_ms": 1000}
"""Of 60 requests the slowest is the p99, and two cores that train and serve may hold one up."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A version whose file must not serve, and a word of the reason for which it is refused."""

    make: Callable[[], bytes | None]
    cause: str
    says_digest_of: Callable[[], bytes] | None = None


BAD_FILES = {
    "truncated": BadFile(lambda: make_classifier()[:-50], "sha256", make_classifier),
    "wrong digest": BadFile(make_good, "sha256", make_classifier),
    "not ONNX": BadFile(lambda: b"sepal_length,sepal_width", "ONNX"),
    "other schema": BadFile(lambda: make_bad_classifier(names=(*IRIS[:3], "petal_colour")), "schema"),
    "golden differs": BadFile(lambda: make_classifier(golden_predictions=[2, 2, 2]), "golden"),
    "slow load": BadFile(make_slow_to_open, "not validated"),
    "crash at load": BadFile(make_crashing, "ends its process"),
    "missing": BadFile(lambda: None, "missing", make_classifier),
}


def test_a_version_takes_over_by_canary_beside_live_traffic(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, repeat: int
) -> None:
    new = publisher.publish(make_good())
    with Traffic(f"{stack.gateway}/predict", rate_per_second=200) as traffic:
        rules = {"window_seconds": 20, "minimum_requests": 300} if repeat else SHORT_RULES
        told = rollouts.run_dag(new, **rules)
        time.sleep(load_seconds(3, is_long=repeat > 0))
    assert told["state"] == "promoted", told
    # A tenth of the requests is drawn for the canary; a tenth, a half and all of them get the version.
    # Replicas know of a new share within two seconds.
    assert told["figures"]["canary"]["live"] >= 20, told
    assert told["figures"]["canary"]["replayed"] >= 100, told
    check_report(
        f"from version {champion} to {new} at 200 rps {repeat}", traffic.report, p999_ms=150 if repeat else math.inf
    )
    assert set(traffic.report.versions) == {champion, new}
    assert traffic.report.last_seconds[champion] < traffic.report.last_seconds[new] - 2
    assert publisher.read_fleet() == {new}
    assert publisher.read_model()["aliases"] == {"champion": new, "previous": champion}


@pytest.mark.parametrize("way", [pytest.param(way, marks=() if way == "missing" else LONG) for way in BAD_FILES])
def test_a_bad_file_is_refused_before_anything_serves_it(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, way: str
) -> None:
    file = BAD_FILES[way]
    digest = hashlib.sha256(file.says_digest_of()).hexdigest() if file.says_digest_of else None
    bad = publisher.publish(file.make(), digest=digest)
    started = time.monotonic()
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        told = rollouts.run_dag(bad)
        failed = list_failed_tasks(rollouts.airflow, told["run_id"])
    assert [name.split(".")[-1] for name in failed] == ["validate_artifact[0]"], "one failure, so one notice"
    seconds = time.monotonic() - started
    check_report(f"{way}: aborted after {seconds:.0f} s ({told['reason'][:100]})", traffic.report)
    assert told["state"] == "aborted"
    assert file.cause in told["reason"]
    assert way == "missing" or seconds < ABORT_SECONDS, "in every push the machine does other work beside it"
    assert set(traffic.report.versions) == {champion}
    assert publisher.read_model()["aliases"]["champion"] == champion
    assert publisher.read_fleet() == {champion}


@pytest.mark.parametrize("decision", ["Approve", pytest.param("Reject", marks=LONG)])
def test_a_person_decides_in_airflow_while_the_version_before_serves_all(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, decision: str
) -> None:
    new = publisher.publish(make_good())
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        run_id = rollouts.start_dag(new, require_approval=True, latency_margin_ms=1000)
        question = wait_until(lambda: rollouts.airflow.read_question(SERVE, run_id), 600, "a person is asked")
        # A replica looks every two seconds.
        wait_until(lambda: rollouts.read()["rollout"]["state"] == "awaiting approval", 120, "the page says who waits")
        wait_until(lambda: ask(stack, "canary") == champion, 120, "the canary answers with the champion")
        rollouts.airflow.decide(SERVE, run_id, decision, 600)
    told = rollouts.wait_for_end(new, 120)
    check_report(f"{decision}: {told['state']} ({told['reason'][:100]})", traffic.report)
    assert question["subject"] == f"iris: version {champion} -> {new}?"
    assert "| requests of people |" in question["body"]
    assert told["state"] == ("promoted" if decision == "Approve" else "aborted"), told
    serving = new if decision == "Approve" else champion
    assert publisher.read_fleet() == {serving}
    assert publisher.read_model()["aliases"]["champion"] == serving


def list_failed_tasks(airflow: Airflow, run_id: str) -> list[str]:
    return [name for name, (state, _) in airflow.task_states(SERVE, run_id).items() if state == "failed"]


@pytest.mark.parametrize(
    "fault", ["errors", *(pytest.param(fault, marks=LONG) for fault in ("slow", "nan", "constant"))]
)
def test_a_version_that_behaves_badly_is_taken_back(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, fault: Fault
) -> None:
    bad = publisher.publish(make_bad_classifier(fault))
    # A fifth of the rows show the fault; a constant answer is one where all of them do.
    bodies = make_rows(longest_sepal=4.9 if fault == "constant" else 7.9)
    margin_ms = 50 if fault == "slow" else 1000
    with Traffic(f"{stack.gateway}/predict", rate_per_second=200, bodies=bodies) as traffic:
        told = rollouts.run_dag(bad, window_seconds=20, minimum_requests=300, latency_margin_ms=margin_ms)
        time.sleep(3)
    report = traffic.report
    seen = report.versions.get(bad, 0) + report.failed
    exposed_seconds = report.last_seconds.get(bad, 0) - report.first_seconds.get(bad, 0)
    print(
        f"\n{fault}: {told['state']} ({told['reason'][:120]}); {seen} of {report.sent} requests met version {bad}, "
        f"for {exposed_seconds:.0f} s; worst {report.worst_ms:.0f} ms"
    )
    assert told["state"] == "aborted", told
    assert seen < 0.15 * report.sent, "the canary's share is 10 %"
    assert exposed_seconds < RECOVER_SECONDS
    assert report.last_seconds[champion] > report.last_seconds.get(bad, 0) + 1
    assert report.failures.keys() <= ({"status 500"} if fault == "errors" else set())
    assert publisher.read_fleet() == {champion}


@LONG
def test_a_version_that_is_five_times_as_slow_as_a_slow_one_is_taken_back(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str
) -> None:
    # 15 ms against 75: more than the 50 ms that a p99 may grow, and little enough for a machine of two cores.
    rounds = count_rounds(milliseconds=15)
    slow = publisher.publish(make_bad_classifier("slow", rounds=rounds))
    publisher.serve(slow)
    slower = publisher.publish(make_bad_classifier("slow", rounds=5 * rounds))
    url, bodies = f"{stack.gateway}/predict", make_rows(longest_sepal=4.9)
    # What a client forces says nothing of a canary: three of thirty requests a second are drawn for it.
    with Traffic(url, rate_per_second=30, bodies=bodies) as traffic:
        rollouts.run_dag(slower, latency_margin_ms=50)
        told = rollouts.wait_for_end(slower, 30)
        time.sleep(2)
    assert told["state"] == "aborted", told
    assert "latency" in told["reason"]
    check_report(f"5x latency ({told['reason'][:100]}, {told['figures']})", traffic.report)
    assert traffic.report.versions[slow] > traffic.report.versions[slower]
    publisher.serve(champion)


def count_rounds(milliseconds: float) -> int:
    """How many rounds of the slow file's loop take so long on this machine when it is quiet."""
    model = OnnxModel(make_bad_classifier("slow", rounds=1000))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        model.predict_rows([[4.5, 3.5, 1.4, 0.2]])
        seconds.append(time.perf_counter() - started)
    return round(milliseconds / min(seconds))


def test_no_user_of_the_stable_pool_gets_the_challenger_when_that_pool_dies(
    stack: Stack, publisher: Publisher, champion: str
) -> None:
    challenger = publisher.publish(make_good())
    publisher.open_canary(challenger)
    wait_until(lambda: ask(stack, "canary") == challenger, 120, "the canary answers with the challenger")
    user = next(
        user
        for user in map(str, range(1000))
        if stack.predict([[5.1, 3.5, 1.4, 0.2]], **{"X-User-Id": user}).headers["X-Model-Version"] == champion
    )
    url = f"{stack.gateway}/predict"
    with (
        Traffic(url, rate_per_second=100, X_Variant="stable") as forced,
        Traffic(url, rate_per_second=100, X_User_Id=user) as drawn,
    ):
        time.sleep(1)
        for container in stack.containers("serving"):
            docker("kill", container)
        time.sleep(5)
        assert ask(stack, "canary") == challenger
    stack.compose("up", "--detach", "--wait", "--no-recreate", "serving")
    publisher.close_canary()
    for name, report in (("forced", forced.report), ("drawn", drawn.report)):
        check_report(f"the stable pool dies while a canary runs, {name}", report)
        assert set(report.versions) == {champion}


def ask(stack: Stack, variant: str) -> str | None:
    answer = stack.predict([[5.1, 3.5, 1.4, 0.2]], **{"X-Variant": variant})
    return answer.headers.get("X-Model-Version")


@pytest.mark.parametrize("step", [pytest.param(step, marks=() if step == "promote" else LONG) for step in STEPS])
def test_a_rollout_that_is_killed_converges_when_it_is_begun_again(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, step: str
) -> None:
    new = publisher.publish(make_good())
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        code, said = rollouts.run_steps(new, f"steps-{new}", step, KILL_SECONDS)
        assert code == KILLED, said
        interrupted = rollouts.read()["rollout"]
        assert interrupted["to_version"] == new
        assert interrupted["state"] not in ENDS, "expected the kill before the rollout's end"
        # Under the same name, as a cleared run of the DAG has it: another one would wait for the lease.
        code, said = rollouts.run_steps(new, f"steps-{new}")
        time.sleep(3)
    assert code == 0, said
    check_report(f"killed in {step}, begun again", traffic.report)
    assert set(traffic.report.versions) == {champion, new}
    assert publisher.read_fleet() == {new}
    assert publisher.read_model()["aliases"] == {"champion": new, "previous": champion}
    assert rollouts.wait_for_end(new, 120)["state"] == "promoted"


@LONG
@pytest.mark.parametrize("race", range(RACES))
def test_of_two_rollouts_at_once_one_version_comes_out(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str, race: int
) -> None:
    versions = [publisher.publish(make_good()) for _ in range(2)]
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        started = [rollouts.start_steps(version, f"race-{version}") for version in versions]
        said = [process.communicate(timeout=240) for process in started]
        wait_until(lambda: len(publisher.read_fleet()) == 1, 30, "all replicas agree")
        time.sleep(3)
    check_report(f"two rollouts at once {race}", traffic.report)
    [serving] = publisher.read_fleet()
    assert serving in versions, said
    model = publisher.read_model()
    assert model["aliases"]["champion"] == serving
    assert "challenger" not in model["aliases"], said
    assert "canary_until" not in model["tags"], said


@LONG
def test_rollouts_in_a_row_lose_no_request_and_keep_no_memory(
    stack: Stack, publisher: Publisher, rollouts: Rollouts, champion: str
) -> None:
    memory: list[dict[str, float]] = []
    with Traffic(f"{stack.gateway}/predict", rate_per_second=50) as traffic:
        for _ in range(SERIES):
            new = publisher.publish(make_good())
            assert rollouts.run_dag(new)["state"] == "promoted"
            memory.append(read_memory_mib(stack))
    check_report(f"{SERIES} rollouts in a row", traffic.report)
    assert publisher.read_fleet() == {new}
    for container, last in memory[-1].items():
        print(f"{container}: {memory[0][container]:.0f} MiB after the first rollout, {last:.0f} MiB after the last")
        assert last < 1.1 * memory[4][container]


def read_memory_mib(stack: Stack) -> dict[str, float]:
    names = [*stack.containers("serving"), *stack.containers("serving-canary")]
    table = docker("stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}}", *names).stdout
    used = {line.split()[0]: line.split()[1] for line in table.splitlines()}
    return {name: float(text[:-3]) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[text[-3:]] for name, text in used.items()}
