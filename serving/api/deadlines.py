"""The time limit of requests: one timer for all, because those that begin first are the first to be late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from serving.errors import RequestError

DEADLINE = "mlops.deadline"
"""The key of a request's deadline in its scope."""


@dataclass(slots=True, eq=False)
class Deadline:
    """When one request must have a response; `is_over` where it was cancelled for lack of one.

    `at` is a time of the event loop, `seconds` the whole time that the request had.
    """

    task: asyncio.Task[object]
    at: float
    seconds: float
    is_over: bool = False
    cancels: int = 0

    def uncancel(self) -> bool:
        """Whether the request was cancelled by its deadline alone; the task may then go on."""
        return self.is_over and self.task.uncancel() <= self.cancels

    def expire(self) -> None:
        """Cancels the request."""
        self.is_over, self.cancels = True, self.task.cancelling()
        self.task.cancel()

    def describe(self) -> RequestError:
        """The error of a request that was cancelled."""
        return RequestError(504, f"request: found no answer after {self.seconds} s, expected one; send fewer rows")


class Deadlines:
    """Cancels the tasks of requests that take too long; a timer of each request's own costs four times as much.

    >>> deadline = deadlines.begin()
    >>> deadlines.end(deadline)
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """The deadline of a request whose task is the current one."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  a server runs each request in a task
        deadline = Deadline(task, loop.time() + self._seconds, self._seconds)
        self._open[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._sweep, loop)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Ends the limit of a request; more than once is the same."""
        self._open.pop(deadline, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for deadline in list(self._open):
            if deadline.at > now:
                self._timer = loop.call_at(deadline.at, self._sweep, loop)
                return
            del self._open[deadline]
            deadline.expire()
