"""Times one poll of the S3 event trigger over 10,000 objects on a real object store, and counts events for old ones.

Usage: python -m tests.benchmarks.watcher
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator

from tests.servers import ObjectStore, run_object_store

OBJECTS = 10_000
ROUNDS = 5


def main() -> None:
    with run_object_store() as store:
        configure_airflow(store)
        folder = store.folder / "datasets" / "incoming" / "iris"
        folder.mkdir(parents=True)
        for number in range(OBJECTS):
            (folder / f"{number:05}.csv").write_text("rows")
        seconds, old = asyncio.run(watch())
    print(
        f"polling {OBJECTS} objects: median {statistics.median(seconds):.2f} s "
        f"(from {min(seconds):.2f} to {max(seconds):.2f}); {old} events for old ones"
    )


def configure_airflow(store: ObjectStore) -> None:
    extra = {"endpoint_url": store.url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": store.access_key, "password": store.secret_key, "extra": extra}
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)
    os.environ["AIRFLOW__MLOPS__INCOMING_POLL_SECONDS"] = "0"


async def watch() -> tuple[list[float], int]:
    """Seconds of each poll after the first, which connects, and the events that fire for what was seen by then."""
    # Airflow reads its configuration while it is imported.
    from plugins.s3_objects import Delivered, Listing, S3Listings, S3ObjectsTrigger  # noqa: PLC0415
    from tests.unit.plugins.triggerer import StateStore  # noqa: PLC0415

    stream = S3Listings("datasets", "incoming/", "aws_default").open_stream()
    found, seconds = [(await anext(stream))[0]], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found.append((await anext(stream))[0])
        seconds.append(time.perf_counter() - started)

    trigger = S3ObjectsTrigger("datasets", "incoming/")
    trigger.asset_state_store = state = StateStore()  # type: ignore[assignment]
    await state.aset("seen", found[0].marks)

    async def replay() -> AsyncIterator[Listing | Delivered]:
        for listing in found:
            yield listing
            yield Delivered(listing.marks)

    return seconds, len([event async for event in trigger.filter_shared_stream(replay())])


if __name__ == "__main__":
    main()
