"""The room for large requests in one replica: what they hold together is bounded, whoever sends them.

A request of one row takes nothing of it, so large requests leave the others their places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from serving.errors import RequestError
from serving.limits import HELD_BYTES, LARGE_REQUESTS, LARGE_THREADS, LONGEST_WAIT_SECONDS


class Room:
    """Counts the bytes of large requests and their responses, and computes a few of them at once.

    >>> room.hold(900_000)
    >>> await room.compute(model.predict_rows, rows)
    >>> room.leave(900_000)
    """

    def __init__(
        self,
        held_bytes: int = HELD_BYTES,
        requests: int = LARGE_REQUESTS,
        wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self._most_bytes = held_bytes
        self._most_requests = requests
        self._wait_seconds = wait_seconds
        self._turns = asyncio.Semaphore(LARGE_THREADS)
        self._threads = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="rows")
        self.held_bytes = 0
        self.requests = 0

    def hold(self, size_bytes: int, own_bytes: int = 0) -> None:
        """Counts a body before it is read, or a response to a request that holds `own_bytes` already.

        Raises:
            RequestError: 429 where the other large requests leave no room for it.
        """
        others = self.held_bytes - own_bytes
        if others and self.held_bytes + size_bytes > self._most_bytes:
            raise _refuse(f"{others} bytes of large requests under way", f"room for {own_bytes + size_bytes} more")
        if not own_bytes:
            if self.requests >= self._most_requests:
                raise _refuse(f"{self.requests} large requests under way", f"fewer than {self._most_requests}")
            self.requests += 1
        self.held_bytes += size_bytes

    def leave(self, held_bytes: int) -> None:
        """Ends a request, with all bytes that it holds."""
        self.held_bytes -= held_bytes
        self.requests -= 1

    async def compute[**P, T](self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls the function in a thread, in the order of arrival.

        Raises:
            RequestError: 429 where it would wait too long for its turn.
        """
        if self._turns.locked():
            await self._wait()
        else:  # at once, without a timer
            await self._turns.acquire()
        try:
            call = self._threads.submit(function, *args, **kwargs)
            return await asyncio.wrap_future(call)
        finally:
            self._turns.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise _refuse(f"no turn within {self._wait_seconds:g} s", "one") from None


def _refuse(found: str, expected: str) -> RequestError:
    return RequestError(
        429, f"request: found {found}, expected {expected}; send it again in a second, or with fewer rows"
    )
