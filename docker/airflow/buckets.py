"""Creates the buckets that the loop uses, and checks what the key of each service can do; safe to repeat."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

BUCKETS = ("airflow-logs", "datasets", "mlflow", "predictions")

RIGHTS = Path(__file__).with_name("rights.txt")
"""Lines of a service, its right (read or write), and its buckets; docker/minio/users.sh makes users of them."""

COPY = ("datasets", "mlops-copy-unfinished")
"""The object that `mlops storage copy` leaves in a new store until everything is there."""

PROBE = "mlops-rights-probe"
"""An object that a key must not be able to write; it is deleted at once where a key can."""


@dataclass(frozen=True, slots=True)
class Right:
    """What the key of a service may do in a store with users."""

    service: str
    is_writer: bool
    buckets: frozenset[str]


def read_rights(path: Path = RIGHTS) -> list[Right]:
    """Reads the table of rights."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [Right(service, right == "write", frozenset(buckets)) for service, right, *buckets in rows]


def connect(user: str, password: str) -> Any:
    """A client of the store with this key."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["MLOPS_S3_ENDPOINT_URL"],
        aws_access_key_id=user,
        aws_secret_access_key=password,
        region_name="us-east-1",
    )


def make_buckets(client: Any) -> None:
    """Creates every bucket that does not exist."""
    for bucket in BUCKETS:
        try:
            client.create_bucket(Bucket=bucket)
            print(f"bucket {bucket}: created")
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise SystemExit(
                    f"FAIL: bucket {bucket}: {error}. If the volume is older than this .env, put the old "
                    "MINIO_ROOT_PASSWORD back, or delete all data: docker compose down -v"
                ) from error
            print(f"bucket {bucket}: found")


def refuse_half_a_copy(client: Any) -> None:
    """Ends the start on a store that lacks a part of the objects of the one before."""
    bucket, key = COPY
    found = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    if any(entry["Key"] == key for entry in found):
        sys.exit(
            "FAIL: object store: expected every object of the store before, found a copy that did not end. Repeat "
            "`mlops storage copy` until it says that both stores are the same (docs/scaling.md)"
        )


def find_missing(client: Any, right: Right) -> Iterator[str]:
    """Yields what a key should be able to do and cannot."""
    for bucket in sorted(right.buckets):
        if problem := refused(client.list_objects_v2, Bucket=bucket, MaxKeys=1):
            yield f"{right.service} cannot list {bucket} ({problem})"


def find_excess(client: Any, right: Right) -> Iterator[str]:
    """Yields what a key should not be able to do and can."""
    for bucket in BUCKETS:
        if bucket not in right.buckets and not refused(client.list_objects_v2, Bucket=bucket, MaxKeys=1):
            yield f"{right.service} lists {bucket}"
        if not (right.is_writer and bucket in right.buckets) and not refused(
            client.put_object, Bucket=bucket, Key=PROBE, Body=b""
        ):
            client.delete_object(Bucket=bucket, Key=PROBE)
            yield f"{right.service} writes {bucket}"


def refused(call: Any, **arguments: Any) -> str | None:
    """Returns the code with which the store refuses a call; None if it does what is asked."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def check_keys() -> None:
    """Checks the key of each service against the table of rights.

    A store without users takes every key for everything, which is accepted on loopback only.
    """
    missing, excess = [], []
    for right in read_rights():
        name = right.service.upper()
        client = connect(os.environ[f"S3_{name}_USER"], os.environ[f"S3_{name}_PASSWORD"])
        missing += find_missing(client, right)
        excess += find_excess(client, right) if not missing else []
    if missing:
        sys.exit(
            f"FAIL: keys of the store: expected each service to reach its buckets, found: {'; '.join(missing)}. "
            "`docker compose logs storage-users` has the reason; for another store than Silo or MinIO make the users "
            "there (docs/operations.md) and set S3_*_USER and S3_*_PASSWORD in .env"
        )
    if not excess:
        print("keys of the store: each service reaches its own buckets alone")
    elif is_loopback(os.environ.get("BIND_ADDRESS") or "127.0.0.1"):
        print(f"WARNING: the store has no users, fit for loopback only: {'; '.join(excess)}")
    else:
        sys.exit(
            f"FAIL: keys of the store: expected none beyond its buckets, found: {'; '.join(excess)}. Use a store with "
            "users (S3_IMAGE), or limit these keys there (docs/operations.md)"
        )


def is_loopback(address: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return address == "localhost" or ip_address(address.strip("[]")).is_loopback


if __name__ == "__main__":
    root = connect(os.environ["MLOPS_S3_ACCESS_KEY"], os.environ["MLOPS_S3_SECRET_KEY"])
    make_buckets(root)
    refuse_half_a_copy(root)
    check_keys()
