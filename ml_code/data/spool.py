"""A folder on a disk for the rows of one training; it goes with the training, also with one that was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ml_code.errors import StorageError

PREFIX = "mlops-spool-"

ON_DISK = Path("/var/tmp")  # noqa: S108  each spool in it is a private folder
"""For large files: `/tmp` of a container is memory. A container without a volume there cannot write to it."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def open_spool(parent: Path | None = None) -> Iterator[Path]:
    """Yields an empty folder in `parent`, by default in `/var/tmp`, else in `/tmp`; removes those of killed ones.

    Raises:
        StorageError: the folder cannot be made, or its disk is full.
    """
    parent = parent or (ON_DISK if os.access(ON_DISK, os.W_OK) else Path(tempfile.gettempdir()))
    try:
        with ExitStack() as stack:
            with _alone_in(parent):
                _remove_left(parent)
                made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
                folder = Path(stack.enter_context(made))
                lock = stack.enter_context((folder / "lock").open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # a killed process loses it
            yield folder
    except OSError as error:
        if error.errno in FULL:
            raise _describe_full(parent) from error
        if error.filename is not None and str(error.filename).startswith(str(parent)):
            raise StorageError(
                f"spool in {parent}: found {error.strerror or error}, expected a folder that can be written; "
                "set MLOPS_SPOOL_DIR to one on a disk"
            ) from error
        raise


def refuse_full(folder: Path, needed_bytes: int) -> None:
    """Refuses to begin what the disk has no room for.

    Raises:
        StorageError: the disk of the folder has less room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"spool in {folder.parent}: found {free / 1e9:.1f} GB free, expected {needed_bytes / 1e9:.1f} for the rows "
            "of this training; free space, or set MLOPS_SPOOL_DIR to a folder on a larger disk"
        )


def _describe_full(parent: Path) -> StorageError:
    return StorageError(
        f"spool in {parent}: found no space left on its disk, expected room for the rows of the training; "
        "free space, or set MLOPS_SPOOL_DIR to a folder on a larger disk"
    )


@contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """While a spool has no lock yet, nobody else takes it for one that was left."""
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
