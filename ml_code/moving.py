"""Moves what a caller has looked at, and nothing else: what arrives meanwhile under the same name stays there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

CHANGED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "NoSuchKey", "NotFound", "404"})
"""What a store says of an object that was written or removed since the caller looked at it."""

CONDITION_UNKNOWN = frozenset({"NotImplemented", "501"})


class Place(NamedTuple):
    """The place of an object in the store."""

    bucket: str
    key: str


def move_object(client: Any, source: Place, target: Place, etag: str, is_unchanged: Callable[[], bool]) -> bool:
    """Moves an object within one store; returns False if it is gone, or another one has its place.

    Some stores ignore the conditions of a copy and of a deletion. So the caller looks again before the deletion.
    """
    condition = f'"{etag}"'
    source_arguments = {"Bucket": source.bucket, "Key": source.key}
    try:
        # The managed copy goes in parts, which S3 requires above 5 GB.
        client.copy(source_arguments, *target, ExtraArgs={"CopySourceIfMatch": condition})
    except client.exceptions.ClientError as error:
        if _read_code(error) in CHANGED:
            return False
        raise
    if not is_unchanged():
        if client.head_object(Bucket=target.bucket, Key=target.key)["ETag"] != condition:
            client.delete_object(Bucket=target.bucket, Key=target.key)
        return False
    try:
        client.delete_object(**source_arguments, IfMatch=condition)
    except client.exceptions.ClientError as error:
        if _read_code(error) not in CHANGED | CONDITION_UNKNOWN:
            raise
        if _read_code(error) in CHANGED:
            return False
        client.delete_object(**source_arguments)
    return True


def move_file(source: Path, target: Path, is_unchanged: Callable[[Path], bool]) -> bool:
    """Moves a file; returns False if it is gone, or another one has its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.move(source, target)
    except FileNotFoundError:
        return False
    if is_unchanged(target):
        return True
    with suppress(FileExistsError):  # a third file has arrived, which replaces the second one as its writer meant
        os.link(target, source)
    target.unlink()
    return False


def _read_code(error: Any) -> str:
    return str(error.response["Error"]["Code"])
