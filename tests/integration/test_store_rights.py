"""Rights of the services' keys in the object store, with the policies that users.sh gives them.

SeaweedFS stands for Silo here: both know users and AWS's policies, and rclone, on which the other tests run, does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.seaweed import UserStore, run_user_store
from tests.servers import ObjectStore

DOCKER = Path(__file__).parents[2] / "docker"

USERS = ("mlflow", "tasks", "backup")

BUCKETS = ("airflow-logs", "datasets", "mlflow", "predictions")

READ = ("list", "get")
WRITE = ("put", "delete")

TASKS_BUCKETS = ("airflow-logs", "datasets", "predictions")

ALLOWED = {
    *(("mlflow", action, "mlflow") for action in (*READ, *WRITE)),
    *(("tasks", action, bucket) for action in (*READ, *WRITE) for bucket in TASKS_BUCKETS),
    *(("backup", action, bucket) for action in READ for bucket in BUCKETS),
}

CELLS = [(user, action, bucket) for user in USERS for action in (*READ, *WRITE) for bucket in BUCKETS]

MC = """#!/bin/sh
# The calls of MinIO's client that users.sh makes; keeps the policies, and the names of the users.
case "$1 $2 $3" in
  "alias set store") cat > /dev/null ;;
  "admin policy create") cp "$6" "$KEPT/$5.json" ;;
  "admin user add") cat >> "$KEPT/users" ;;
  "admin policy attach") ;;
  *) exit 1 ;;
esac
"""

KEYS = {
    "MINIO_ROOT_USER": "root",
    "MINIO_ROOT_PASSWORD": "root-secret",
    "S3_ENDPOINT_URL": "http://minio:9000",
    **{f"S3_{user.upper()}_USER": f"{user}-USER" for user in USERS},
    **{f"S3_{user.upper()}_PASSWORD": f"{user}-PASSWORD" for user in USERS},
}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The policies that users.sh hands to MinIO's client, by service."""
    folder = tmp_path_factory.mktemp("mc")
    (folder / "mc").write_text(MC)
    (folder / "mc").chmod(0o755)
    environment = {**KEYS, "PATH": f"{folder}:{os.environ['PATH']}", "KEPT": str(folder)}
    command = ["sh", str(DOCKER / "minio/users.sh"), str(DOCKER / "airflow/rights.txt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "WARNING" not in done.stdout
    users = (folder / "users").read_text().split()
    assert users == [f"{name}-{part}" for name in USERS for part in ("USER", "PASSWORD")]
    return {name: (folder / f"mlops-{name}.json").read_text() for name in USERS}


@pytest.fixture(scope="module")
def store(policies: Mapping[str, str]) -> Iterator[UserStore]:
    """The store with its buckets, each with the object `key`."""
    with run_user_store(policies) as found:
        root = found.connect("root")
        for bucket in BUCKETS:
            root.create_bucket(Bucket=bucket)
            root.put_object(Bucket=bucket, Key="key", Body=b"content")
        yield found


def is_allowed(client: Any, action: str, bucket: str) -> bool:
    """Whether the store does what a key asks for; only a refusal counts as none."""
    calls = {
        "list": lambda: client.list_objects_v2(Bucket=bucket),
        "get": lambda: client.get_object(Bucket=bucket, Key="key"),
        "put": lambda: client.put_object(Bucket=bucket, Key="other", Body=b"other"),
        "delete": lambda: client.delete_object(Bucket=bucket, Key="other"),
    }
    try:
        calls[action]()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


@pytest.mark.parametrize(("user", "action", "bucket"), CELLS)
def test_a_key_does_what_its_cell_says(store: UserStore, user: str, action: str, bucket: str) -> None:
    assert is_allowed(store.connect(user), action, bucket) == ((user, action, bucket) in ALLOWED)


def check_keys(url: str, keys: Mapping[str, tuple[str, str]], **further: str) -> subprocess.CompletedProcess[str]:
    """Runs storage-init."""
    environment = {
        "PATH": os.environ["PATH"],
        "MLOPS_S3_ENDPOINT_URL": url,
        "MLOPS_S3_ACCESS_KEY": keys["root"][0],
        "MLOPS_S3_SECRET_KEY": keys["root"][1],
        **{f"S3_{name.upper()}_USER": keys[name][0] for name in USERS},
        **{f"S3_{name.upper()}_PASSWORD": keys[name][1] for name in USERS},
        **further,
    }
    command = [sys.executable, str(DOCKER / "airflow/buckets.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_storage_init_finds_each_key_within_its_rights(store: UserStore) -> None:
    done = check_keys(store.url, store.keys, BIND_ADDRESS="0.0.0.0")
    assert done.returncode == 0, done.stderr
    assert "each service reaches its own buckets alone" in done.stdout


def test_storage_init_stops_where_a_key_is_unknown(store: UserStore) -> None:
    done = check_keys(store.url, {**store.keys, "tasks": ("nobody", "wrong-secret")})
    assert done.returncode == 1
    assert (
        "FAIL: keys of the store: expected each service to reach its buckets, found: tasks cannot list" in done.stderr
    )


def test_a_store_without_users_is_fit_for_loopback_only(object_store: ObjectStore) -> None:
    root = (object_store.access_key, object_store.secret_key)
    keys = dict.fromkeys(("root", *USERS), root)
    local = check_keys(object_store.url, keys, BIND_ADDRESS="127.0.0.1")
    assert local.returncode == 0, local.stderr
    assert "WARNING: the store has no users, fit for loopback only: mlflow lists airflow-logs" in local.stdout
    assert check_keys(object_store.url, keys, BIND_ADDRESS="0.0.0.0").returncode == 1
    left = object_store.connect().list_objects_v2(Bucket="datasets", Prefix="mlops-rights-probe")
    assert "Contents" not in left
