"""A store of several nodes that loses one of them, with the gateway of docker/storage-cluster before it."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from ml_code.s3_client import make_client
from tests.engine import skip_without_engine
from tests.integration.seaweed import ROOT
from tests.integration.seaweed_cluster import Cluster, connect_quickly, run_cluster
from tests.integration.store_front import run_front
from tests.integration.test_store_contract import describe
from tests.servers import PostgresServer

pytestmark = pytest.mark.long

BUCKET = "work"
REQUESTS = 500
THREADS = 4
LONGEST_PAUSE_SECONDS = 40
LONGEST_REFUSAL_SECONDS = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without_engine([item for item in items if item.path == Path(__file__)], "the tests of lost nodes")


@dataclass
class Work:
    """Requests of four kinds by the client that the loop uses; what was written, and how long each took."""

    client: Any
    written: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def do(self, number: int) -> None:
        """One request; every tenth is an object in parts."""
        started = time.monotonic()
        kinds: list[Callable[[int], None]] = [self.put, self.get, self.list, self.put, self.get]
        request = self.put_in_parts if number % 10 == 9 else kinds[number % 5]
        try:
            request(number)
        except (ClientError, BotoCoreError) as error:
            # As the retry of a task does: the whole object again.
            self.repeated.append(f"{request.__name__} {number}: {error}")
            request(number)
        self.seconds.append(time.monotonic() - started)

    def put(self, number: int) -> None:
        content = random.Random(number).randbytes(20_000)
        self.client.put_object(Bucket=BUCKET, Key=f"small/{number:04}", Body=content)
        self.written[f"small/{number:04}"] = hashlib.sha256(content).hexdigest()

    def put_in_parts(self, number: int) -> None:
        content = random.Random(number).randbytes(5 << 20)
        place = {"Bucket": BUCKET, "Key": f"parts/{number:04}"}
        upload = self.client.create_multipart_upload(**place)["UploadId"]
        parts = []
        for part, body in enumerate((content, b"end"), 1):
            answer = self.client.upload_part(**place, UploadId=upload, PartNumber=part, Body=body)
            parts.append({"PartNumber": part, "ETag": answer["ETag"]})
        self.client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        self.written[place["Key"]] = hashlib.sha256(content + b"end").hexdigest()

    def get(self, number: int) -> None:
        known = list(self.written.items())
        if known:
            key, digest = known[number % len(known)]
            self.check(key, digest)

    def check(self, key: str, digest: str) -> None:
        found = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        if hashlib.sha256(found).hexdigest() != digest:
            self.wrong.append(key)

    def list(self, _number: int) -> None:
        known = {key for key in list(self.written) if key.startswith("small/")}
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix="small/")
        found = {entry["Key"] for entry in listed.get("Contents", [])}
        if not known <= found:
            self.wrong.append(f"the listing lacks {sorted(known - found)[:3]}")


@pytest.fixture
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    with run_cluster(postgres) as running:
        connect_quickly(running.urls[0]).create_bucket(Bucket=BUCKET)
        yield running


def find_leader(cluster: Cluster) -> str:
    """The master that leads the others."""
    for name, node in cluster.nodes.items():
        if name.startswith("master") and httpx.get(f"http://127.0.0.1:{node.port}/cluster/status").json().get(
            "IsLeader"
        ):
            return name
    raise AssertionError("expected a master that leads, found none")


@pytest.mark.parametrize(
    ("victim", "most_repeated"), [("leader", 0), ("volume-0", 0), ("filer-0", THREADS), ("gateway-0", 0)]
)
def test_no_object_is_lost_with_a_node(cluster: Cluster, tmp_path: Path, victim: str, most_repeated: int) -> None:
    """An upload in parts that ends while its filer dies may fail; its task repeats it."""
    with run_front(tmp_path, cluster.urls) as url:
        work, done = Work(make_client(describe(url, ROOT))), threading.Semaphore(0)

        def request(number: int) -> None:
            try:
                work.do(number)
            finally:
                done.release()

        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(request, number) for number in range(REQUESTS)]
            for _ in range(REQUESTS // 3):
                assert done.acquire(timeout=120)
            cluster.kill(find_leader(cluster) if victim == "leader" else victim)
            failed = [error for future in futures if (error := future.exception()) is not None]
        for key, digest in work.written.items():
            work.check(key, digest)
    print(f"\n{victim}: {len(work.written)} objects, longest request {max(work.seconds):.1f} s, {work.repeated}")
    assert failed == []
    assert len(work.repeated) <= most_repeated, work.repeated
    assert work.wrong == []
    assert len(work.written) == 200 + 50
    assert max(work.seconds) < LONGEST_PAUSE_SECONDS


def test_with_two_volume_servers_lost_a_write_is_refused_and_does_not_hang(cluster: Cluster) -> None:
    client = connect_quickly(cluster.urls[0], read_seconds=LONGEST_REFUSAL_SECONDS)
    written = {f"before/{number}": bytes([number]) * 1000 for number in range(8)}
    for key, content in written.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=content)
    for name in ("volume-0", "volume-1"):
        cluster.kill(name)
    started = time.monotonic()
    with pytest.raises((ClientError, BotoCoreError)):
        client.put_object(Bucket=BUCKET, Key="after", Body=b"a" * 1000)
    refused_seconds = time.monotonic() - started
    for key, content in written.items():
        try:
            assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
        except (ClientError, BotoCoreError):
            continue
    print(f"\nrefused after {refused_seconds:.1f} s")
    assert refused_seconds < LONGEST_REFUSAL_SECONDS
