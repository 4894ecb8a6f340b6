"""The last step of a rollout: the champion answers through the gateway."""

from __future__ import annotations

import pytest

from ml_code.gate.holdout_rows import HoldoutRows
from serving.errors import (
    BreachError,
    InconclusiveError,
    RolloutLostError,
)
from serving.fleet.gateway import Answer
from serving.rollout import steps
from tests.unit.serving import rollout_fakes
from tests.unit.serving.fake_stack import Behaviour
from tests.unit.serving.rollout_fakes import set_table
from tests.unit.serving.rollout_run import assert_settled, run

pytestmark = pytest.mark.usefixtures("quick_validation")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(Answer(502, problem="no replica answers"), "found status 502"), (Answer(200, "3", 0), "found version 3")],
    ids=["nobody answers", "another version answers"],
)
def test_a_gateway_that_does_not_reach_the_champion_does_not_condemn_it(answer: Answer, cause: str) -> None:
    table = set_table("4", has_canary_pool=False, champion="3")
    table.stack.predict = lambda model, rows, variant: [answer for _ in rows]  # type: ignore[method-assign]
    with pytest.raises(InconclusiveError, match=cause):
        run(table)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == "inconclusive"


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (Behaviour(failing_share=1.0), "found status 500, expected 200"),
        (Behaviour(constant=1), "found the answer 1, expected 0 as of the file"),
    ],
    ids=["errors", "other answers"],
)
def test_a_champion_that_does_not_answer_through_the_gateway_gives_way_to_the_one_before(
    behaviour: Behaviour, cause: str
) -> None:
    table = set_table("4", has_canary_pool=False, champion="3")
    table.stack.behaviours["4"] = behaviour
    with pytest.raises(BreachError, match=cause):
        run(table)
    assert_settled(table, "3", None)
    assert table.registry.tags["4"]["rollout"] == "aborted"


@pytest.mark.parametrize(
    ("has_canary_pool", "cause"),
    [(False, "found the answer 0.0002, expected 0.0001"), (True, "replayed rows with another answer than the file's")],
)
def test_answers_of_small_numbers_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, has_canary_pool: bool, cause: str
) -> None:
    spec = rollout_fakes.read_holdout("iris", "4").spec.model_copy(update={"task": "regression", "classes": None})
    small = HoldoutRows(spec, rollout_fakes.ROWS, [1e-4 + place % 2 / 5000 for place in range(len(rollout_fakes.ROWS))])
    monkeypatch.setattr(rollout_fakes, "read_holdout", lambda *_: small)
    table = set_table("4", has_canary_pool=has_canary_pool, champion="3")
    table.stack.behaviours["4"] = Behaviour(constant=2e-4)
    with pytest.raises(BreachError, match=cause):
        run(table)


def test_the_end_of_a_rollout_may_be_repeated_so_that_it_is_told() -> None:
    table = set_table("4", champion="3")
    number = run(table, "dag/one")
    assert "version 4" in steps.verify_through_gateway(table.control("dag/one"), number)
    with pytest.raises(RolloutLostError):
        steps.verify_through_gateway(table.control("dag/two"), number)
