"""Fires an asset's event for every new object under a prefix of an S3 bucket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, override

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

CLASSPATH = "s3_objects.S3ObjectsTrigger"
WATERMARK = "seen"
KEYS_PER_EVENT = 500
POLL_SECONDS = 30
LONGEST_PAUSE_SECONDS = 60
# A stop of the triggerer waits for the listing thread, so that thread must not wait long.
CONNECT_SECONDS = 5
READ_SECONDS = 15

log = logging.getLogger(__name__)

Marks = Mapping[str, str]
"""ETag and time of writing of each object, by its name: they change with the content."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects under the prefix, as one poll found them."""

    marks: Marks


@dataclass(frozen=True, slots=True)
class Delivered:
    """A listing whose events are all in Airflow's database."""

    marks: Marks


class S3ObjectsTrigger(BaseEventTrigger):
    """Fires `{"keys": [...]}`, at most 500 keys, for objects that were written since the watermark.

    The watermark is the last listing whose events are all in Airflow's database. The asset's state store keeps it.
    Airflow acknowledges an event once it is stored (ack mode of a shared stream), and only then does the trigger write
    the watermark. So a crash before that repeats those events and loses none. About two seconds lie between the two
    writes; a restart outside of them repeats no event.

    Deleted objects leave the watermark at the next poll, so it stays as small as the prefix. A file that is uploaded
    again under the same name fires again.
    """

    def __init__(self, bucket: str, prefix: str, aws_conn_id: str = "aws_default") -> None:
        super().__init__()
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id

    @override
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return CLASSPATH, {"bucket": self.bucket, "prefix": self.prefix, "aws_conn_id": self.aws_conn_id}

    @override
    def shared_stream_key(self) -> tuple[str, ...]:
        return (CLASSPATH, self.aws_conn_id, self.bucket, self.prefix)

    @override
    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> S3Listings:
        return S3Listings(**kwargs)

    @override
    async def filter_shared_stream(self, shared_stream: AsyncIterator[Listing | Delivered]) -> AsyncIterator[Any]:
        written = seen = await self._read_watermark()
        async for found in shared_stream:
            if isinstance(found, Delivered):
                written = await self._write_watermark(found.marks, written)
                continue
            new = sorted(key for key, mark in found.marks.items() if seen.get(key) != mark)
            for keys in batched(new, KEYS_PER_EVENT):
                yield TriggerEvent({"keys": list(keys)})
            seen = found.marks

    @override
    async def run(self) -> AsyncIterator[TriggerEvent]:
        raise NotImplementedError("S3ObjectsTrigger: found a triggerer without shared streams, expected Airflow 3.3")
        yield  # Airflow expects a generator.

    async def _read_watermark(self) -> Marks:
        failures = 0
        while True:
            try:
                marks: Marks = await self.asset_state_store.aget(WATERMARK, default={})
            except Exception as error:  # The edge of the trigger: no error may end it.
                failures += 1
                await rest_after(failures, "the watermark", error)
            else:
                return marks

    async def _write_watermark(self, marks: Marks, written: Marks) -> Marks:
        """Writes the watermark if it changed, and returns the stored one; the next poll retries a failure."""
        if marks == written:
            return written
        try:
            await self.asset_state_store.aset(WATERMARK, dict(marks))
        except Exception as error:  # The edge of the trigger, as above.
            log.warning("watermark: found %s, expected it written; the next poll writes it", describe(error))
            return written
        return marks


class S3Listings(SharedStreamProducer):
    """Lists a prefix at every poll, and returns each listing whose events were stored."""

    def __init__(self, bucket: str, prefix: str, aws_conn_id: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id
        self._delivered: asyncio.Queue[Marks] = asyncio.Queue()
        self._client: Any = None

    @override
    async def open_stream(self) -> AsyncIterator[tuple[Listing | Delivered, Marks | None]]:
        loop = asyncio.get_running_loop()
        while True:
            marks = await self._list_patiently()
            yield Listing(marks), marks
            deadline = loop.time() + read_poll_seconds()
            while (delivered := await self._wait_for_delivery(deadline - loop.time())) is not None:
                yield Delivered(delivered), None

    @override
    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        for marks, outcome in batch:
            if marks is not None and outcome.is_clean:
                self._delivered.put_nowait(marks)

    async def _wait_for_delivery(self, seconds: float) -> Marks | None:
        try:
            return await asyncio.wait_for(self._delivered.get(), max(seconds, 0))
        except TimeoutError:
            return None

    async def _list_patiently(self) -> Marks:
        failures = 0
        while True:
            try:
                return await asyncio.to_thread(self._list)
            except Exception as error:  # The edge of the trigger: no error may end it.
                failures += 1
                # The connection may have been corrected meanwhile.
                self._client = None
                await rest_after(failures, f"s3://{self.bucket}/{self.prefix}", error)

    def _list(self) -> Marks:
        self._client = self._client or self._connect()
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        return {
            found["Key"]: f"{found['ETag']} {found['LastModified'].isoformat()}"
            for page in pages
            for found in _read_page(page)
            if not found["Key"].endswith("/")
        }

    def _connect(self) -> Any:
        # Not at the top: DAG files import this module, and the provider takes a second.
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"max_attempts": 0})
        return S3Hook(aws_conn_id=self.aws_conn_id, config=config).get_conn()


def _read_page(page: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The objects of one page; boto3 takes a response that was cut in its headers for an empty one."""
    if "IsTruncated" not in page:
        raise ConnectionError("found half a response, expected a whole one")
    return page.get("Contents", [])


def read_poll_seconds() -> float:
    """Seconds between two polls, from `incoming_poll_seconds` in the section `mlops` of Airflow's configuration."""
    from airflow.configuration import conf  # noqa: PLC0415  a process that parses DAG files does not need it

    return float(conf.getfloat("mlops", "incoming_poll_seconds", fallback=POLL_SECONDS))


async def rest_after(failures: int, subject: str, error: Exception) -> None:
    """Logs one line and waits, one second after the first failure and twice as long after each further one."""
    pause = min(2.0 ** (failures - 1), LONGEST_PAUSE_SECONDS)
    log.warning("%s: found %s, expected an answer; retrying in %.0f s", subject, describe(error), pause)
    await asyncio.sleep(pause)


def describe(error: Exception) -> str:
    """Type and first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
