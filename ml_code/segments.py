"""Segment files: lines that one process writes and another one collects, without losing or repeating a line.

A segment belongs to one writer, who holds its lock (`flock`) as long as it writes. Who gets the lock of a segment
knows that its writer has closed it or is dead. A segment is locked before it has its name: a collector that locked it
between both steps would move a file that is still written. A writer never appends to what an earlier process wrote,
since that may end in the middle of a line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ml_code.disk import FULL_SHARE
from ml_code.errors import UncollectedError

SUFFIX = ".jsonl"

SEGMENT_SECONDS = 60.0
"""A segment is closed at this age, so that a collection finds all lines older than a minute."""

SEGMENT_BYTES = 32_000_000

UNCOLLECTED_BYTES = 2_000_000_000
"""Bytes that may wait for a collection; more would fill the disk on which the database lies, too."""

MEASURE_SECONDS = 5.0
"""Time between two measurements of what waits."""

FILE_MODE = 0o660
"""The collector is another user of the same group."""


class SegmentWriter:
    """Writes whole lines to segments of its own; one thread at a time may use it.

    >>> SegmentWriter(folder, "stable-a1b2c3").write(lines)
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        *,
        seconds: float = SEGMENT_SECONDS,
        segment_bytes: int = SEGMENT_BYTES,
        rooms: Sequence[Path] = (),
        room_bytes: int = UNCOLLECTED_BYTES,
        measure_disk: Callable[[Path], float] | None = None,
    ) -> None:
        """Creates nothing yet; `rooms` are the folders that together may hold `room_bytes`, this one by default.

        `measure_disk` tells how full the disk is; without it, lines may take its last byte.
        """
        self._folder = folder
        self._owner = owner
        self._seconds = seconds
        self._segment_bytes = segment_bytes
        self._rooms = tuple(rooms) or (folder,)
        self._room_bytes = room_bytes
        self._measure_disk = measure_disk
        self._measured_at = -MEASURE_SECONDS
        self._waiting_bytes = 0
        self._used_share = 0.0
        self._began_ms = time.time_ns() // 1_000_000
        self._number = 0
        self._file = -1
        self._size = 0
        self._opened_at = 0.0

    def write(self, lines: bytes) -> None:
        """Appends lines, each with its newline: all of them, or none.

        Raises:
            OSError: the disk is full or nearly so, or the folder cannot be written.
            UncollectedError: too much waits for its collection.
        """
        self.rotate()
        self._check_room()
        if self._file < 0:
            self._open()
        try:
            _write_all(self._file, lines)
        except OSError:
            self._undo()
            raise
        self._size += len(lines)
        self._waiting_bytes += len(lines)

    def rotate(self) -> None:
        """Closes a segment that is old or large enough; to be called about every second, with lines or without."""
        if self._file >= 0 and (
            self._size >= self._segment_bytes or time.monotonic() - self._opened_at >= self._seconds
        ):
            self.close()

    def sync(self) -> None:
        """Returns when the disk has what was written.

        Raises:
            OSError: the disk failed.
        """
        if self._file >= 0:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Closes the segment, which frees its lock; a later line begins another segment."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        hidden = self._folder / f".{self._owner}-{os.getpid()}"
        hidden.unlink(missing_ok=True)
        file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(file, FILE_MODE)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._name(hidden)
        except OSError:
            os.close(file)
            hidden.unlink(missing_ok=True)
            raise
        self._file, self._size, self._opened_at = file, 0, time.monotonic()

    def _name(self, hidden: Path) -> None:
        """Gives the file a name that no other has: after a restart with the clock set back, one may be there."""
        while True:
            path = self._folder / f"{self._owner}-{self._began_ms}-{self._number}{SUFFIX}"
            self._number += 1
            try:
                os.link(hidden, path)  # a rename would replace the other file
            except FileExistsError:
                continue
            hidden.unlink()
            return

    def _undo(self) -> None:
        """Removes half a line, or begins another segment behind it."""
        try:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
        except OSError:
            self.close()

    def _check_room(self) -> None:
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_SECONDS:
            self._waiting_bytes = sum(measure_folder(room) for room in self._rooms)
            self._used_share = _measure_share(self._measure_disk, self._folder)
            self._measured_at = now
        if self._used_share >= FULL_SHARE:
            raise OSError(
                errno.ENOSPC,
                f"found {self._used_share:.0%} of the disk used, expected less than {FULL_SHARE:.0%}; free space",
                str(self._folder),
            )
        if self._waiting_bytes >= self._room_bytes:
            raise UncollectedError(
                f"{self._folder}: found {self._waiting_bytes} bytes that wait for their collection, expected fewer "
                f"than {self._room_bytes}; see why the DAG collect_predictions does not end, then clear it"
            )


def take_free(folder: Path, target: Path, *, but: str | None = None) -> list[Path]:
    """Moves the segments that nobody writes any more to another folder of the same volume, and returns their paths.

    Args:
        folder: where they lie.
        target: where they go.
        but: ends the names of those that stay.

    Raises:
        OSError: a folder cannot be read or written.
    """
    moved = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name.startswith(".") or (but and path.name.endswith(but)):
            continue
        try:
            opened = open_segment(path)
        except OSError:  # no file, or another writer's right
            continue
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not (target / path.name).exists():  # else the next collection takes it
                moved.append(path.rename(target / path.name))
    return moved


@dataclass(slots=True)
class Lines:
    """The whole lines of a segment, one by one; afterwards `torn` says how many end in their middle (0 or 1).

    >>> lines = Lines(path)
    >>> for line in lines: ...
    """

    path: Path
    torn: int = 0

    def __iter__(self) -> Iterator[bytes]:
        """Reads the file; raises an OSError if that is not possible."""
        with open_segment(self.path) as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
                else:
                    self.torn += 1


def read_lines(path: Path) -> tuple[list[bytes], int]:
    """The whole lines of a segment, and how many it holds that end in their middle (0 or 1).

    Raises:
        OSError: the file cannot be read.
    """
    lines = Lines(path)
    return list(lines), lines.torn


def open_segment(path: Path) -> BinaryIO:
    """Opens a regular file to read; whoever may write to the folder must not lead a collector to another one.

    Raises:
        OSError: it is a link, a pipe or the like, or cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "found no regular file, expected a segment", str(path))
    return open(file, "rb")


def measure_folder(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # a collection has moved it
            continue
    return total


def _measure_share(measure_disk: Callable[[Path], float] | None, folder: Path) -> float:
    """How full the disk is; a folder that is not there yet lies on the disk of its parent."""
    if measure_disk is None:
        return 0.0
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return measure_disk(folder)


def write_synced(path: Path, content: bytes) -> None:
    """Writes or replaces a file at once, and returns when the disk has it: its source may be deleted then."""
    hidden = path.with_name(f".{path.name}")
    with hidden.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    hidden.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a power cut leaves the file without its name
    finally:
        os.close(folder)


def _write_all(file: int, content: bytes) -> None:
    """Writes all bytes: a disk that fills up takes a part of them first."""
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
