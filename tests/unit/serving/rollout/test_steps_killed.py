"""A rollout whose process dies at any of its changes, and is run again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from serving.errors import BreachError, NothingNewError, StandsAsideError
from serving.rollout.plan import open_rollout
from serving.rollout.steps import start_canary
from tests.unit.serving.fake_stack import Behaviour
from tests.unit.serving.rollout_fakes import Table, set_table
from tests.unit.serving.rollout_run import assert_settled, run

pytestmark = pytest.mark.usefixtures("quick_validation")


class Killed(BaseException):
    """The end of a process."""


def kill_after(table: Table, calls: int) -> list[int]:
    """Kills the process at its n-th change of the registry, the rows or the log; the list has how many it has left."""
    left = [calls]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def die_or_call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(*arguments, **options)

        return die_or_call

    for part, names in (
        (table.registry, ("move", "delete", "tag", "tag_model")),
        (table.rows, ("open", "write")),
        (table.log, ("record",)),
    ):
        for name in names:
            setattr(part, name, deadly(getattr(type(part), name).__get__(part)))
    return left


def revive(table: Table) -> None:
    for part in (table.registry, table.rows, table.log):
        for name in ("move", "delete", "tag", "tag_model", "open", "write", "record"):
            part.__dict__.pop(name, None)


def count_changes() -> int:
    """How many changes a whole rollout makes."""
    table = set_table("4", champion="3", previous="2")
    left = kill_after(table, 500)
    run(table)
    return 500 - left[0]


@pytest.mark.parametrize("owner", ["dag/run", "dag/another"], ids=["the same run", "another run"])
def test_killed_at_any_change_and_run_again_it_ends_with_the_new_version(owner: str) -> None:
    for calls in range(count_changes()):
        table = set_table("4", champion="3", previous="2")
        kill_after(table, calls)
        with pytest.raises(Killed):
            run(table)
        revive(table)
        assert table.stack.champion() in {"3", "4"}
        with suppress(NothingNewError):  # it was killed after the last change
            run(table, owner)
        assert_settled(table, "4", "3")
        promotions = [move for move in table.log.moves if move.to_version == "4"]
        assert len(promotions) == 1, (calls, table.log.moves)


def test_a_challenger_that_somebody_left_never_answers() -> None:
    for calls in range(100):
        table = set_table("4", champion="3", challenger="2")
        number = open_rollout(table.control(), "iris").rollout_id
        kill_after(table, calls)
        with suppress(Killed):
            start_canary(table.control(), number)
        assert table.stack.challenger() in {None, "4"}
        if table.stack.challenger():
            break
    assert calls > 1


def test_an_abort_that_is_killed_at_any_change_ends_with_the_old_version() -> None:
    def begin(calls: int) -> tuple[Table, bool]:
        table = set_table("4", champion="3", previous="2")
        table.stack.behaviours["4"] = Behaviour(failing_share=0.5)
        kill_after(table, calls)
        try:
            run(table)
        except Killed:
            revive(table)
            return table, True
        except BreachError:
            pass
        return table, False

    for calls in range(500):
        table, is_killed = begin(calls)
        if not is_killed:
            break
        with pytest.raises((BreachError, StandsAsideError)):
            run(table)
        assert_settled(table, "3", "2")
        assert table.registry.tags["4"]["rollout"] == "aborted", calls
    assert calls > 10
