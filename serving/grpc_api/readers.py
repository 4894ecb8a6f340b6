"""The places in which messages are read: how many at once, and how many of one sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

READERS = 32
"""Messages that are read at once: 32 MB, should all be as large as a message may be."""

READERS_OF_ADDRESS = 8
"""Those of one address: a client that opens calls and sends nothing leaves the other places to the others."""


class Readers:
    """The places of one server.

    >>> async with readers.take_place(b"192.0.2.7"):
    ...     message = await context.read()
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(READERS)
        # An address is known while it has a place, or waits for one.
        self._of_address: WeakValueDictionary[bytes, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take_place(self, address: bytes) -> AsyncIterator[None]:
        """Waits for a place, in the order of arrival of each address."""
        own = self._of_address.setdefault(address, asyncio.Semaphore(READERS_OF_ADDRESS))
        async with own, self._places:
            yield
