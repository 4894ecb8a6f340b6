"""A stand-in for the triggerer: it receives events and acknowledges the stored ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from airflow.triggers.shared_stream import SharedStreamManager

from plugins.s3_objects import S3ObjectsTrigger

TRIGGER_ID = 1
QUIET_SECONDS = 0.6
"""Longer than several polls: an event that has not fired by then does not fire."""


class StateStore:
    """An asset's state store that outlives a triggerer; it fails as long as `is_away`."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.is_away = False

    async def aget(self, key: str, default: Any = None) -> Any:
        self._refuse_if_away()
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        self._refuse_if_away()
        self.values[key] = json.dumps(value)

    def read_keys(self) -> list[str] | None:
        """Names of the objects in the watermark, once there is one."""
        return sorted(json.loads(self.values["seen"])) if "seen" in self.values else None

    def _refuse_if_away(self) -> None:
        if self.is_away:
            raise ConnectionError("the database is away")


class Triggerer:
    """One life of a triggerer, from its start to a crash."""

    def __init__(self, trigger: S3ObjectsTrigger, *, stores_events: bool = True) -> None:
        self.trigger = trigger
        self.stores_events = stores_events
        self.manager = SharedStreamManager()
        self.events: asyncio.Queue[list[str]] = asyncio.Queue()

    async def run(self) -> None:
        key = self.trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=TRIGGER_ID, trigger=self.trigger, key=key)
        async for event in self.trigger.filter_shared_stream(stream):
            sequence = self.manager.bind_pending_event(trigger_id=TRIGGER_ID, key=key)
            self.events.put_nowait(event.payload["keys"])
            if self.stores_events and sequence is not None:
                self.manager.confirm_persisted([sequence])

    async def next_event(self) -> list[str]:
        return await asyncio.wait_for(self.events.get(), 30)

    async def wait_until(self, probe: Callable[[], bool]) -> None:
        """Waits through polls until a condition is true."""
        async with asyncio.timeout(30):
            while not probe():
                await asyncio.sleep(0.05)

    async def rest(self) -> list[list[str]]:
        """Events of a time in which the test waits for none."""
        await asyncio.sleep(QUIET_SECONDS)
        return [self.events.get_nowait() for _ in range(self.events.qsize())]


@asynccontextmanager
async def run_triggerer(state: StateStore, *, stores_events: bool = True) -> AsyncIterator[Triggerer]:
    trigger = S3ObjectsTrigger(bucket="datasets", prefix="incoming/")
    trigger.asset_state_store = state  # type: ignore[assignment]
    triggerer = Triggerer(trigger, stores_events=stores_events)
    task = asyncio.create_task(triggerer.run())
    try:
        yield triggerer
    finally:
        await triggerer.manager.stop_all()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
