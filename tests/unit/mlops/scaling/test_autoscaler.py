"""The loop: what it reads, when it changes the number, and how it ends."""

from __future__ import annotations

import signal

import pytest

from ml_code.errors import WarehouseError
from mlops.errors import ScalingError
from mlops.scaling.autoscaler import Autoscaler, check_most
from mlops.scaling.decision import QUIET_SECONDS, Limits, Room
from mlops.scaling.load import Counts, Reading


class Stack:
    """Replicas under a load, which end after some looks; a pause moves their clock."""

    def __init__(self, load: float, looks: int = 12) -> None:
        self.load, self.looks = load, looks
        self.at, self.counted = 0.0, [0.0, 0.0]
        self.cleaned = 0
        self.broken = 0

    def count(self) -> int:
        return len(self.counted)

    def is_stopped(self) -> bool:
        return self.looks <= 0

    def read(self) -> Reading:
        if self.broken:
            self.broken -= 1
            raise ScalingError("gateway: found none")
        replicas = {str(number): Counts(seconds, 0.0, 100.0) for number, seconds in enumerate(self.counted)}
        return Reading(self.at, replicas, 16, 64_000)

    def scale(self, replicas: int) -> None:
        self.counted = (self.counted + [0.0] * replicas)[:replicas]

    def remove_leftovers(self) -> None:
        self.cleaned += 1

    def pass_time(self, seconds: float) -> None:
        self.at += seconds
        self.counted = [counted + seconds * self.load / len(self.counted) for counted in self.counted]
        self.looks -= 1


def run(stack: Stack, analysis: str = "") -> list[str]:
    said: list[str] = []
    Autoscaler(stack, Limits(2, 6), lambda: analysis, said.append, stack.pass_time).run()
    return said


def test_a_load_brings_replicas_at_once() -> None:
    stack = Stack(load=1.9)
    assert run(stack)[0] == "2 -> 4 replicas: a load of 1.90"
    assert stack.count() == 4


def test_a_quiet_load_takes_one_after_five_minutes() -> None:
    stack = Stack(load=0.1, looks=int(QUIET_SECONDS / 5) + 10)
    stack.scale(4)
    assert run(stack)[-2:] == [
        "4 -> 3 replicas: a load of 0.10 for 5 minutes",
        "the stack was stopped, so there is nothing to scale",
    ]


def test_an_analysis_holds_the_number_and_is_told_once() -> None:
    stack = Stack(load=1.9)
    said = run(stack, analysis="iris")
    assert stack.count() == 2
    assert [line for line in said if "iris" in line] == ["no change: the canary of iris is being analysed"]


def test_without_the_warehouse_the_number_stays() -> None:
    stack, said = Stack(load=1.9), list[str]()

    def fail() -> str:
        raise WarehouseError("warehouse: found no answer")

    Autoscaler(stack, Limits(2, 6), fail, said.append, stack.pass_time).run()
    assert stack.count() == 2
    assert any("the warehouse does not answer" in line for line in said)


def test_a_gateway_that_is_away_for_a_moment_is_told_once_and_waited_for() -> None:
    stack = Stack(load=1.9)
    stack.broken = 4
    said = run(stack)
    assert said.count("no change: gateway: found none") == 1
    assert stack.count() == 4


def test_a_stack_that_is_stopped_ends_the_loop_without_a_change() -> None:
    """`make down` begins between the reading and the change."""
    stack = Stack(load=1.9)
    looked = iter([False, False, True, True])
    stack.is_stopped = lambda: next(looked)  # type: ignore[method-assign]
    said = run(stack)
    assert stack.count() == 2
    assert (said[-1], stack.cleaned) == ("the stack was stopped, so there is nothing to scale", 1)


def test_a_signal_during_a_change_ends_the_loop_after_it() -> None:
    stack, said = Stack(load=1.9), list[str]()
    scale = stack.scale

    def interrupt(replicas: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        scale(replicas)

    stack.scale = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Autoscaler(stack, Limits(2, 6), str, said.append, stack.pass_time).run()
    assert said == ["2 -> 4 replicas: a load of 1.90"]


ROOM = Room(cores=2, free_mb=2048, replica_mb=100)


@pytest.mark.parametrize(
    ("most", "by_cores", "found"),
    [(6, False, "at most 5"), (6, True, "at most 5"), (3, True, "at most 2, the machine's cores")],
)
def test_more_than_the_machine_has_room_for_is_refused(most: int, by_cores: bool, found: str) -> None:
    with pytest.raises(ScalingError, match=f"--max: found {most} replicas, expected {found}"):
        check_most(most, 2, ROOM, "--max", by_cores=by_cores)


def test_what_fits_is_accepted_and_so_is_what_runs_already() -> None:
    check_most(5, 2, ROOM, "scale", by_cores=False)
    check_most(7, 7, Room(2, 0, 100), "scale", by_cores=False)
