"""A rollout as the DAG runs it, on fakes."""

from __future__ import annotations

from collections.abc import Callable

from serving.comparison.analysis import Rules
from serving.errors import NoCanaryError
from serving.rollout import steps
from serving.rollout.control import Control
from serving.rollout.plan import open_rollout
from tests.unit.serving.rollout_fakes import Table

WINDOW_SECONDS = 20.0

STEPS: dict[str, Callable[[Control, int], object]] = {
    "validate_artifact": steps.validate_artifact,
    "start_canary": steps.start_canary,
    "wait_for_canary": steps.wait_for_canary,
    "analyse_canary": lambda control, number: steps.analyse_canary(control, number, Rules(), WINDOW_SECONDS),
    "promote": steps.promote,
    "wait_for_fleet": steps.wait_for_fleet,
    "verify_through_gateway": steps.verify_through_gateway,
}


def run(table: Table, owner: str = "dag/run", version: str | None = None) -> int:
    """What the DAG does; a step that the first version does not need is skipped with those after it."""
    control = table.control(owner)
    number = open_rollout(control, "iris", version).rollout_id
    has_canary = True
    for name, step in STEPS.items():
        if not has_canary and name in {"wait_for_canary", "analyse_canary"}:
            continue
        try:
            step(control, number)
        except NoCanaryError:
            has_canary = False
    return number


def begin(control: Control, last: str = "wait_for_canary") -> int:
    """Takes the steps up to one of them; answers the number of the rollout."""
    number = open_rollout(control, "iris").rollout_id
    for name, step in STEPS.items():
        step(control, number)
        if name == last:
            break
    return number


def assert_settled(table: Table, champion: str, previous: str | None) -> None:
    expected = {"champion": champion} | ({"previous": previous} if previous else {})
    assert table.aliases.aliases == expected
    assert "canary_until" not in table.aliases.model_tags
    assert table.rows.find_active("iris") is None
