"""The trigger against a real object store, in a triggerer that can crash where a test wants it to."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.s3_objects import CLASSPATH, S3ObjectsTrigger
from tests.servers import ObjectStore, run_object_store
from tests.unit.plugins.triggerer import StateStore, run_triggerer


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with run_object_store() as store:
        yield store


@pytest.fixture
def incoming(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder behind the prefix that the trigger watches."""
    fields = {"login": object_store.access_key, "password": object_store.secret_key}
    extra = {"endpoint_url": object_store.url, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", **fields, "extra": extra}))
    monkeypatch.setenv("AIRFLOW__MLOPS__INCOMING_POLL_SECONDS", "0.1")
    folder = object_store.folder / "datasets" / "incoming" / "iris"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder.parent)


def write(folder: Path, name: str, content: str = "rows") -> str:
    # As one step, because a listing between two would find an empty file.
    draft = folder.parents[2] / "draft"
    draft.write_text(content)
    draft.rename(folder / name)
    return f"incoming/iris/{name}"


def test_an_object_fires_once(incoming: Path) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            key = write(incoming, "a.csv")
            assert await triggerer.next_event() == [key]
            assert await triggerer.rest() == []

    asyncio.run(watch())


def test_an_object_that_is_written_over_fires_again(incoming: Path) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            key = write(incoming, "a.csv", "old")
            assert await triggerer.next_event() == [key]
            write(incoming, "a.csv", "new rows")
            assert await triggerer.next_event() == [key]
            assert await triggerer.rest() == []

    asyncio.run(watch())


def test_the_same_file_fires_again_after_it_was_moved_away(incoming: Path) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            key = write(incoming, "a.csv")
            assert await triggerer.next_event() == [key]
            (incoming / "a.csv").unlink()
            assert await triggerer.rest() == []
            write(incoming, "a.csv")
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_a_restart_fires_nothing_that_was_stored(incoming: Path) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state) as triggerer:
            write(incoming, "a.csv")
            await triggerer.next_event()
            await triggerer.rest()
        async with run_triggerer(state) as triggerer:
            assert await triggerer.rest() == []
            key = write(incoming, "b.csv")
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_a_crash_before_an_event_is_stored_loses_nothing(incoming: Path) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state, stores_events=False) as triggerer:
            key = write(incoming, "a.csv")
            assert await triggerer.next_event() == [key]
            # Further polls pass, and none of them may take the event for stored.
            assert await triggerer.rest() == []
        assert state.values == {}
        async with run_triggerer(state) as triggerer:
            assert await triggerer.next_event() == [key]

    asyncio.run(watch())


def test_the_watermark_forgets_what_is_gone(incoming: Path) -> None:
    async def watch() -> None:
        state = StateStore()
        async with run_triggerer(state) as triggerer:
            write(incoming, "a.csv")
            await triggerer.next_event()
            (incoming / "a.csv").unlink()
            await triggerer.rest()
        assert json.loads(state.values["seen"]) == {}

    asyncio.run(watch())


def test_what_was_written_while_the_database_was_away_fires_afterwards(incoming: Path) -> None:
    async def watch() -> None:
        state = StateStore()
        state.is_away = True
        async with run_triggerer(state) as triggerer:
            key = write(incoming, "a.csv")
            assert await triggerer.rest() == []
            state.is_away = False
            assert await triggerer.next_event() == [key]
            state.is_away = True
            second = write(incoming, "b.csv")
            assert await triggerer.next_event() == [second]
            state.is_away = False
            await triggerer.rest()
        assert sorted(json.loads(state.values["seen"])) == [key, second]

    asyncio.run(watch())


def test_folder_markers_are_no_files(incoming: Path) -> None:
    async def watch() -> None:
        async with run_triggerer(StateStore()) as triggerer:
            (incoming / "empty").mkdir()
            assert await triggerer.rest() == []

    asyncio.run(watch())


def test_many_objects_come_in_several_events(incoming: Path) -> None:
    async def watch() -> None:
        keys = [write(incoming, f"{number:04}.csv") for number in range(1201)]
        async with run_triggerer(StateStore()) as triggerer:
            events = [await triggerer.next_event() for _ in range(3)]
            assert [len(event) for event in events] == [500, 500, 201]
            assert [key for event in events for key in event] == keys

    asyncio.run(watch())


def test_the_triggerer_finds_the_class_under_its_path() -> None:
    path, arguments = S3ObjectsTrigger("datasets", "incoming/").serialize()
    assert path == CLASSPATH == f"{S3ObjectsTrigger.__module__.removeprefix('plugins.')}.{S3ObjectsTrigger.__name__}"
    assert S3ObjectsTrigger(**arguments).serialize() == (path, arguments)
