"""A folder on a disk for the rows of one training; it goes with the training, also with one that was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
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
        _remove_left(parent)
        with ExitStack() as stack:
            yield _make_locked(parent, stack)
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


def _make_locked(parent: Path, stack: ExitStack) -> Path:
    """A new folder with a lock, which a killed process loses. It has its name once it is locked: nobody removes it."""
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    folder = made.with_name(made.name.removeprefix("."))
    try:
        lock = stack.enter_context((made / "lock").open("wb"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        raise
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_left(parent: Path) -> None:
    """Removes folders that were left; those of another user stay as they are, whatever is in them."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            with (folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
