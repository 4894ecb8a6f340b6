"""A full disk under Postgres and under the store: a clear error, nothing broken, and work again when there is room."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_code.errors import StorageError, WarehouseError
from ml_code.storage import Storage
from ml_code.warehouse import Warehouse
from serving.rollout.promotion_log import WarehouseLog
from tests.offline_settings import make_offline_settings
from tests.repo.repository import read_compose

pytestmark = pytest.mark.long

PASSWORD = secrets.token_hex(16)
SIZE = "200m"
SECONDS = 120.0


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def find_image(service: str) -> str:
    """The image of a service without a setting in .env."""
    image: str = read_compose()["services"][service]["image"]
    return image.partition(":-")[2].rstrip("}")


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"expected within {SECONDS} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def run() -> Iterator[Callable[..., str]]:
    """Starts a container whose data lie in a small tmpfs; returns its name."""
    started: list[str] = []

    def start(port: int, *arguments: str) -> str:
        started.append(f"full-{secrets.token_hex(4)}")
        docker("run", "--detach", "--name", started[-1], "--publish", f"127.0.0.1::{port}", *arguments)
        return started[-1]

    yield start
    if started:
        docker("rm", "--force", *started)


def test_postgres_refuses_what_finds_no_room_and_goes_on_when_there_is_some(run: Callable[..., str]) -> None:
    settings = ("-c", "max_wal_size=64MB", "-c", "wal_recycle=off", "-c", "shared_buffers=16MB")
    name = run(
        5432,
        *("--tmpfs", f"/full:size={SIZE},mode=1777", "--env", "PGDATA=/full/data"),
        *("--env", f"POSTGRES_PASSWORD={PASSWORD}", "--user", "postgres"),
        *(find_image("postgres"), "postgres", *settings),
    )
    host, _, port = docker("port", name, "5432").partition(":")
    warehouse = Warehouse(f"host={host} port={port} dbname=postgres user=postgres password={PASSWORD}")
    wait_until(lambda: _migrates(warehouse), "Postgres takes the migrations")
    log = WarehouseLog(warehouse)
    docker("exec", name, "dd", "if=/dev/zero", "of=/full/ballast", "bs=1M", "count=60")
    written: list[str] = []
    with pytest.raises(WarehouseError, match=r"No space left on device|discarded this work"):
        _fill(lambda number: written.append(_record(log, number)))
    assert written
    docker("exec", name, "rm", "/full/ballast")
    wait_until(lambda: _is_read(log), "Postgres is read again")
    written.append(_record(log, len(written)))
    assert [move.why for move in reversed(log.list_moves("iris"))] == written


def test_the_store_refuses_what_finds_no_room_and_goes_on_when_there_is_some(
    run: Callable[..., str], tmp_path: Path
) -> None:
    name = run(
        9000,
        *("--tmpfs", f"/data:size={SIZE}", "--env", "MINIO_ROOT_USER=root-of-test"),
        *("--env", f"MINIO_ROOT_PASSWORD={PASSWORD}", find_image("minio"), "server", "/data"),
    )
    settings = make_offline_settings(
        tmp_path,
        s3_endpoint_url=f"http://{docker('port', name, '9000')}",
        s3_access_key="root-of-test",
        s3_secret_key=SecretStr(PASSWORD),
    )
    storage = Storage(settings)
    wait_until(lambda: _makes_bucket(storage), "the store makes a bucket")
    storage.write_bytes("s3://datasets/before", b"before")
    content = secrets.token_bytes(10_000_000)
    with pytest.raises(StorageError, match=r"object s3://datasets/fill/\d+: found .*expected the store to accept"):
        _fill(lambda number: storage.write_bytes(f"s3://datasets/fill/{number}", content))
    assert storage.read_bytes("s3://datasets/before") == b"before"
    whole = storage.list_objects("s3://datasets/fill/")
    assert {found.size_bytes for found in whole} == {len(content)}
    for found in whole:
        storage.delete(found.uri)
    wait_until(lambda: _is_written(storage), "the store takes objects again")
    assert storage.read_bytes("s3://datasets/after") == b"after"


def _record(log: WarehouseLog, number: int) -> str:
    """Adds a row of 4 MB, which no compression makes smaller; returns its reason."""
    reason = f"{number} {secrets.token_hex(2_000_000)}"
    log.record("iris", "promote", "ada", reason, to_version=str(number + 1))
    return reason


def _fill(write: Callable[[int], object]) -> None:
    for number in range(100):
        write(number)


def _migrates(warehouse: Warehouse) -> bool:
    try:
        warehouse.migrate()
    except WarehouseError:
        return False
    return True


def _is_read(log: WarehouseLog) -> bool:
    try:
        return bool(log.list_moves("iris"))
    except WarehouseError:
        return False


def _makes_bucket(storage: Storage) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        storage._client.create_bucket(Bucket="datasets")
    except (BotoCoreError, ClientError):
        return False
    return True


def _is_written(storage: Storage) -> bool:
    try:
        storage.write_bytes("s3://datasets/after", b"after")
    except StorageError:
        return False
    return True
