"""The trigger against a real object store, in a triggerer that can crash at any point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from plugins.s3_objects import CLASSPATH, S3Listings, S3ObjectsTrigger
from tests.many_objects import make_client
from tests.servers import ObjectStore, run_object_store
from tests.unit.plugins.triggerer import StateStore, run_triggerer


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with run_object_store() as store:
        yield store


class Incoming:
    """The prefix that the trigger watches."""

    def __init__(self, store: ObjectStore) -> None:
        self._client = store.connect()

    def write(self, name: str, content: str = "rows") -> str:
        key = f"incoming/iris/{name}"
        self._client.put_object(Bucket="datasets", Key=key, Body=content.encode())
        return key

    def remove(self, *keys: str) -> None:
        for key in keys:
            self._client.delete_object(Bucket="datasets", Key=key)

    def remove_all(self) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="datasets", Prefix="incoming/")
        self.remove(*[found["Key"] for page in pages for found in page.get("Contents", [])])


@pytest.fixture
def incoming(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Incoming]:
    fields = {"login": object_store.access_key, "password": object_store.secret_key}
    extra = {"endpoint_url": object_store.url, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", **fields, "extra": extra}))
    monkeypatch.setenv("AIRFLOW__MLOPS__INCOMING_POLL_SECONDS", "0.1")
    incoming = Incoming(object_store)
    yield incoming
    incoming.remove_all()


def test_an_object_fires_once(incoming: Incoming) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            key = incoming.write("a.csv")
            assert await triggerer.next_event() == [key]
            assert await triggerer.rest() == []

    asyncio.run(watch())


def test_an_overwritten_object_fires_again(incoming: Incoming) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            key = incoming.write("a.csv", "old")
            assert await triggerer.next_event() == [key]
            incoming.write("a.csv", "new rows")
            assert await triggerer.next_event() == [key]
            assert await triggerer.rest() == []

    asyncio.run(watch())


def test_the_same_file_fires_again_after_it_was_moved_away(incoming: Incoming) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state) as triggerer:
            key = incoming.write("a.csv")
            assert await triggerer.next_event() == [key]
            await triggerer.wait_until(lambda: state.read_keys() == [key])
            incoming.remove(key)
            await triggerer.wait_until(lambda: state.read_keys() == [])
            incoming.write("a.csv")
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_a_restart_fires_nothing_that_was_stored(incoming: Incoming) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state) as triggerer:
            incoming.write("a.csv")
            await triggerer.next_event()
            await triggerer.wait_until(lambda: state.read_keys() == ["incoming/iris/a.csv"])
        async with run_triggerer(state) as triggerer:
            assert await triggerer.rest() == []
            key = incoming.write("b.csv")
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_a_crash_before_an_event_is_stored_loses_nothing(incoming: Incoming) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state, stores_events=False) as triggerer:
            key = incoming.write("a.csv")
            assert await triggerer.next_event() == [key]
            # Further polls pass, and none may treat the event as stored.
            assert await triggerer.rest() == []
        assert state.values == {}
        async with run_triggerer(state) as triggerer:
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_the_watermark_drops_deleted_objects(incoming: Incoming) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state) as triggerer:
            incoming.write("a.csv")
            await triggerer.next_event()
            await triggerer.wait_until(lambda: state.read_keys() == ["incoming/iris/a.csv"])
            incoming.remove("incoming/iris/a.csv")
            await triggerer.wait_until(lambda: state.read_keys() == [])

    asyncio.run(watch())


def test_an_object_written_while_the_database_is_down_fires_afterwards(incoming: Incoming) -> None:
    async def watch() -> None:
        state = StateStore()
        state.is_away = True
        async with run_triggerer(state) as triggerer:
            key = incoming.write("a.csv")
            assert await triggerer.rest() == []
            state.is_away = False
            assert await triggerer.next_event() == [key]
            state.is_away = True
            second = incoming.write("b.csv")
            assert await triggerer.next_event() == [second]
            state.is_away = False
            await triggerer.wait_until(lambda: state.read_keys() == [key, second])

    asyncio.run(watch())


def test_folder_markers_fire_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console makes a folder as an object whose name ends with a slash; the test's store makes a real folder."""
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    monkeypatch.setattr(S3Listings, "_connect", lambda _: client)
    written = {"ETag": '"1"', "LastModified": datetime(2026, 11, 1, tzinfo=UTC)}
    found = [{"Key": "incoming/iris/", **written}, {"Key": "incoming/iris/a.csv", **written}]

    async def list_once() -> list[str]:
        stream = S3Listings("datasets", "incoming/", "aws_default").open_stream()
        listing, _ = await anext(stream)
        await stream.aclose()
        return list(listing.marks)

    with Stubber(client) as stubber:
        stubber.add_response("list_objects_v2", {"Contents": found, "IsTruncated": False})
        assert asyncio.run(list_once()) == ["incoming/iris/a.csv"]


def test_many_objects_come_in_several_events(incoming: Incoming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.s3_objects.KEYS_PER_EVENT", 20)

    async def watch() -> None:
        keys = [incoming.write(f"{number:04}.csv") for number in range(41)]
        async with run_triggerer(StateStore()) as triggerer:
            events = [await triggerer.next_event() for _ in range(3)]
            assert [len(event) for event in events] == [20, 20, 1]
            assert [key for event in events for key in event] == keys

    asyncio.run(watch())


def test_no_page_is_taken_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Listings, "_connect", lambda _: make_client(200_000))
    trigger, seen = S3ObjectsTrigger("datasets", "incoming/"), {"incoming/iris/000007.csv": "another content"}

    async def watch() -> list[list[str]]:
        stream = S3Listings("datasets", "incoming/", "aws_default").open_stream()
        listing, _ = await anext(stream)
        await stream.aclose()

        async def read_seen() -> dict[str, str]:
            return seen

        async def share() -> AsyncIterator[Any]:
            yield listing

        monkeypatch.setattr(trigger, "_read_watermark", read_seen)
        return [event.payload["keys"] async for event in trigger.filter_shared_stream(share())]

    events = asyncio.run(watch())
    assert [len(keys) for keys in events] == [500] * 400
    assert len({key for keys in events for key in keys}) == 200_000


def test_the_triggerer_finds_the_class_under_its_path() -> None:
    path, arguments = S3ObjectsTrigger("datasets", "incoming/").serialize()
    assert path == CLASSPATH == f"{S3ObjectsTrigger.__module__.removeprefix('plugins.')}.{S3ObjectsTrigger.__name__}"
    assert S3ObjectsTrigger(**arguments).serialize() == (path, arguments)
