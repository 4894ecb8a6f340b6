"""A shadow in a real canary replica: its log has both predictions of a request, and a slow one holds nothing up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_code.monitoring.prediction_log.blocks import Block, read_block
from ml_code.segments import read_lines
from serving.errors import InconclusiveError
from serving.rollout import ab_test, losses, shadow, steps
from tests.integration.serving.replica import wait_until
from tests.integration.serving.rollout_stack import RULES, RolloutStack, roll_out
from tests.log_rows import LogWarehouse, make_log_workspace, write_log
from tests.unit.serving.bad_files import BAD_ROWS, CALM_ROWS, make_bad_classifier
from tests.unit.serving.onnx_files import make_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

ALWAYS_ONE = [1] * len(CALM_ROWS)
LOGGED = "mlops_prediction_log_shadow_rows_total"
TERMS = ab_test.Terms(margin=0.05, share=0.5)


class CompleteLog(LogWarehouse):
    """One whose log is complete until now, and that has no labels."""

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self._answer = [(datetime.now(UTC) + timedelta(minutes=5),)] if "max(began_at)" in statement else []


@pytest.fixture(scope="module")
def stack(rollout_stack: RolloutStack) -> RolloutStack:
    return rollout_stack


@pytest.fixture(scope="module")
def champion(stack: RolloutStack) -> str:
    """The first version, rolled out."""
    version = stack.register(make_bad_classifier())
    roll_out(stack, version)
    return version


@contextmanager
def shadowed_by(stack: RolloutStack, version: str) -> Iterator[None]:
    """Has the canary replica hold the version, as a controller does, until a controller would withdraw it."""
    client, until = stack.client, datetime.now(UTC) + timedelta(minutes=10)
    client.set_registered_model_alias("iris", "shadow", version)
    client.set_registered_model_tag("iris", "shadow_until", until.isoformat())
    try:
        wait_until(lambda: counts_of(stack)["version"] == version, stack.canary.readiness)
        yield
    finally:
        client.delete_registered_model_tag("iris", "shadow_until")
        client.delete_registered_model_alias("iris", "shadow")
    wait_until(lambda: not stack.canary.readiness()["shadows"], stack.canary.readiness)


def counts_of(stack: RolloutStack) -> dict[str, Any]:
    """What `/readyz` of the canary replica tells of its shadow."""
    return next(iter(stack.canary.readiness()["shadows"]), {"version": None})


def read_blocks(stack: RolloutStack) -> list[Block]:
    """What the canary replica has logged so far."""
    paths = sorted((stack.log_dir / "segments").glob("*.jsonl"))
    return [read_block(line) for path in paths for line in read_lines(path)[0]]


def read_variants(stack: RolloutStack, request_id: str) -> dict[str, list[Any]]:
    """The predictions of a request by the version's variant, in the order of its rows."""
    found: dict[str, list[Any]] = defaultdict(list)
    for block in read_blocks(stack):
        for row in block.rows:
            if row.request_id == request_id:
                found[block.head.variant].append(row.prediction)
    return dict(found)


def read_metric(stack: RolloutStack, name: str) -> float:
    lines = httpx.get(f"{stack.canary.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and "created" not in line)


def test_both_versions_predict_a_request_and_the_champion_answers_it(stack: RolloutStack, champion: str) -> None:
    version = stack.register(make_classifier(answer=1))
    before = read_metric(stack, "mlops_prediction_rows_total")
    with shadowed_by(stack, version):
        # Drawn for the canary pool or not: there is no challenger.
        answers = [stack.canary.predict(CALM_ROWS, **{"X-Pool": pool}) for pool in ("canary", "stable")]
        wait_until(lambda: counts_of(stack)["rows"] == 2 * len(CALM_ROWS), lambda: counts_of(stack))
        for answer in answers:
            assert answer.headers["x-model-version"] == champion
            assert answer.json()["predictions"] != ALWAYS_ONE
            expected = {"champion": answer.json()["predictions"], "shadow": ALWAYS_ONE}
            request_id = answer.headers["x-request-id"]
            wait_until(lambda i=request_id, e=expected: read_variants(stack, i) == e, lambda: read_blocks(stack)[-2:])
        assert stack.served()["canary"] == {"champion": champion}
    heads = {(block.head.version, block.head.traffic) for block in read_blocks(stack) if block.head.variant == "shadow"}
    assert heads == {(version, "live")}
    assert read_metric(stack, "mlops_prediction_rows_total") - before == 2 * len(CALM_ROWS)
    answer = stack.canary.predict(CALM_ROWS)
    assert set(read_variants(stack, answer.headers["x-request-id"])) <= {"champion"}


def test_a_slow_shadow_is_bounded_and_counted_and_holds_no_answer_up(stack: RolloutStack, champion: str) -> None:
    version = stack.register(make_bad_classifier("slow", rounds=50_000))
    rows, requests = BAD_ROWS * 100, 12
    before = read_metric(stack, LOGGED)
    with shadowed_by(stack, version):
        answers = [stack.canary.predict(rows) for _ in range(requests)]
        assert {answer.headers["x-model-version"] for answer in answers} == {champion}
        # Each of its predictions takes longer than all the answers together: the first ones wait for it still.
        assert counts_of(stack)["rows"] < len(rows) * 3

        def count() -> tuple[int, int]:
            counts = counts_of(stack)
            return counts["rows"], counts["dropped"]["full"]

        wait_until(lambda: sum(count()) == len(rows) * requests, count)
        predicted, full = count()
        assert min(predicted, full) > 0
        assert read_metric(stack, "mlops_shadow_dropped_rows_total") == full
        wait_until(lambda: read_metric(stack, LOGGED) - before == predicted, lambda: read_metric(stack, LOGGED))
    logged = [
        (row.request_id, row.row)
        for block in read_blocks(stack)
        if (block.head.variant, block.head.version) == ("shadow", version)
        for row in block.rows
    ]
    assert len(logged) == len(set(logged)) == predicted


def test_a_controller_compares_both_predictions_until_somebody_withdraws_the_shadow(
    stack: RolloutStack, champion: str, tmp_path: Path
) -> None:
    version, control = stack.register(make_classifier(answer=1)), stack.control("ab_test/shadow")
    number = ab_test.open_test(control, "iris", version, "shadow").rollout_id
    steps.validate_artifact(control, number)
    steps.start_canary(control, number)
    steps.wait_for_canary(control, number)
    steps.analyse_canary(control, number, RULES, 4.0)
    assert stack.served()["canary"] == {"champion": champion}
    answers = [stack.canary.predict(CALM_ROWS) for _ in range(10)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    wait_until(lambda: all("shadow" in read_variants(stack, one) for one in ids), lambda: counts_of(stack))
    workspace = make_log_workspace(tmp_path, CompleteLog())
    for place, block in enumerate(read_blocks(stack)):
        write_log(workspace, block.head, block.rows, f"20261121T000000.000000Z-{place}")
    assert not shadow.look(control, number, TERMS, partial(losses.read_pairs, workspace))
    row = control.rows.read(number)
    alike = sum(answer.json()["predictions"].count(1) for answer in answers) / (10 * len(CALM_ROWS))
    assert (row.kind, row.state) == ("shadow", "comparing")
    assert row.figures["agreement"] | {"psi": None} == {"rows": 10 * len(CALM_ROWS), "alike": alike, "psi": None}
    assert row.figures["shadow"] == {"rows": 10 * len(CALM_ROWS), "failed": 0}
    stack.client.delete_registered_model_alias("iris", "shadow")
    with pytest.raises(InconclusiveError, match="the alias shadow: found none"):
        shadow.look(control, number, TERMS, partial(losses.read_pairs, workspace))
    assert control.rows.read(number).state == "inconclusive"
    assert stack.aliases() == {"champion": champion}
    wait_until(lambda: not stack.canary.readiness()["shadows"], stack.canary.readiness)
