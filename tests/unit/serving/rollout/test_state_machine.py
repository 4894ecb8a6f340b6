"""The model of the rollout's state machine: two actors whose processes die, whose MLflow is slow, whose lock is lost.

Hypothesis draws what they do, and when it goes wrong. What must hold then is under `invariant` and `settle`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ml_code.errors import MlopsError
from serving.errors import ServingError
from serving.rollout import steps
from serving.rollout.fence import find_expected
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from serving.rollout.rows import Rollout
from tests.unit.serving.rollout.test_steps_killed import Killed, kill_after, revive
from tests.unit.serving.rollout_fakes import judge, set_table

ACTORS = ("dag/run", "ada@lab")
TROUBLES = ("none", "crash", "slow", "lost", "slow and crash")
EXPECTED_ERRORS = (ServingError, MlopsError)


class RolloutMachine(RuleBasedStateMachine):
    """One model, two actors; the fakes are what stays when an actor's process dies."""

    def __init__(self) -> None:
        super().__init__()
        self.table = set_table("3", champion="2", previous="1")
        self.ended: dict[int, Rollout] = {}
        self.logged: list[Any] = []
        self.in_flight: list[Callable[[], None]] = []
        pause = self.table.stack.pause

        def pause_and_land(seconds: float) -> None:
            pause(seconds)
            while self.in_flight:
                self.in_flight.pop()()

        self.table.stack.pause = pause_and_land  # type: ignore[method-assign]

    @rule()
    def train(self) -> None:
        """Registers a version that has passed the gate."""
        self.table.registry.add(str(max(map(int, self.table.registry.tags)) + 1))

    @precondition(lambda self: not self.in_flight)
    @rule(
        what=st.sampled_from(["roll out", "roll back", "promote", "repeat"]),
        actor=st.sampled_from(ACTORS),
        trouble=st.sampled_from(TROUBLES),
        at=st.integers(0, 25),
        beside=st.sampled_from(["roll out", "roll back", "promote"]),
    )
    def act(self, what: str, actor: str, trouble: str, at: int, beside: str) -> None:
        """One actor does something, and something goes wrong; the other one acts meanwhile."""
        [other] = set(ACTORS) - {actor}
        self._make_trouble(trouble, at, lambda: self._do(beside, other))
        try:
            self._do(what, actor)
        except Killed:
            pass
        finally:
            self._end_trouble()

    @precondition(lambda self: self.in_flight)
    @rule(what=st.sampled_from(["roll back", "promote"]), actor=st.sampled_from(ACTORS))
    def act_while_a_change_of_a_dead_process_is_under_way(self, what: str, actor: str) -> None:
        """The change takes place while the next actor guards its own."""
        self._do(what, actor)
        while self.in_flight:  # the next actor had nothing to guard against
            self.in_flight.pop()()
        self.settle(is_landed=True)

    @rule()
    def wait(self) -> None:
        """Every lease ends."""
        self.table.stack.pause(600)

    @rule(what=st.sampled_from(["roll back", "promote"]))
    def settle(self, what: str = "promote", *, is_landed: bool = False) -> None:
        """An actor without trouble brings everything to an end, from whatever is left."""
        while self.in_flight:
            self.table.stack.pause(1)
        self.table.rows.now += timedelta(minutes=10)
        if not is_landed:
            self._do("roll out", "dag/later")
        if self.table.rows.find_active("iris") is not None:
            self._do(what, "bob@lab")
        if self.table.rows.find_active("iris") is not None:
            self._do("promote", "bob@lab")
        assert self.table.rows.find_active("iris") is None
        assert "canary_until" not in self.table.registry.model_tags

    @invariant()
    def history_stays(self) -> None:
        moves = self.table.log.moves
        assert moves[: len(self.logged)] == self.logged
        self.logged = list(moves)
        of_rollouts = [(move.rollout_id, move.action) for move in moves if move.rollout_id]
        assert len(of_rollouts) == len(set(of_rollouts))
        for number, row in self.ended.items():
            assert self.table.rows.rows[number] == row
        self.ended = {number: row for number, row in self.table.rows.rows.items() if row.ended_at}

    @invariant()
    def aliases_are_those_of_the_log_while_nothing_is_under_way(self) -> None:
        assert not self.table.rows.is_locked
        if self.in_flight or self.table.rows.find_active("iris") is not None:
            return
        aliases, expected = self.table.registry.aliases, find_expected(self.table.control("check"), "iris")
        assert aliases["champion"] == expected["champion"], self.table.log.moves
        assert aliases.get("previous") != aliases["champion"]
        assert self.table.stack.challenger() is None

    def teardown(self) -> None:
        self.settle()
        self.aliases_are_those_of_the_log_while_nothing_is_under_way()

    def _do(self, what: str, actor: str) -> None:
        control = self.table.control(actor)
        try:
            if what == "roll back":
                done = roll_back(control, "iris", "wrong")
                last = self.table.log.find_last_move("iris")
                assert last is not None
                assert (done.state, last.to_version) == ("rolled back", done.to_version)
            elif what == "promote":
                promote_by_hand(control, "iris", min(self.table.registry.tags), "better")
            else:
                self._roll_out(actor, is_repeated=what == "repeat")
        except EXPECTED_ERRORS:
            pass

    def _roll_out(self, actor: str, *, is_repeated: bool) -> None:
        control = self.table.control(actor)
        number = open_rollout(control, "iris").rollout_id
        for step in (steps.start_canary, judge, steps.promote, steps.wait_for_fleet, steps.verify_through_gateway):
            for _ in range(1 + is_repeated):
                step(control, number)

    def _make_trouble(self, trouble: str, at: int, meanwhile: Callable[[], None]) -> None:
        if trouble == "crash":
            kill_after(self.table, at)
        elif trouble == "lost":
            self.table.rows.proofs_left, self.table.rows.meanwhile = at, meanwhile
        elif trouble.startswith("slow"):
            self._slow_down(at % 5, meanwhile, is_deadly="crash" in trouble)

    def _slow_down(self, at: int, meanwhile: Callable[[], None], *, is_deadly: bool) -> None:
        """Makes one change of an alias late: the other actor acts before it, or its caller dies and it comes later."""
        left = [at]
        change_at_once = type(self.table.registry)._change

        def wait(change: Callable[[], None]) -> bool:
            if is_deadly:
                self.in_flight.append(change)
                raise Killed
            meanwhile()
            change()
            return True

        def change_late(change: Callable[[], object]) -> None:
            left[0] -= 1
            if left[0] == -1:
                self.table.registry.late = wait
            change_at_once(self.table.registry, change)

        self.table.registry._change = change_late  # type: ignore[method-assign]

    def _end_trouble(self) -> None:
        revive(self.table)
        self.table.registry.__dict__.pop("_change", None)
        self.table.registry.late = self.table.rows.proofs_left = None
        self.table.rows.holder = None


TestRolloutMachine = pytest.mark.filterwarnings("ignore")(RolloutMachine.TestCase)
TestRolloutMachine.settings = settings(
    max_examples=60, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
