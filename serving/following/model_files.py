"""The state directory: model files by digest, what was served last, and which load is under way.

files/<sha256>.onnx             shared by all replicas, each file written under another name and renamed
served/<model>.json             the last good champion and the one before it
loading/<replica>/<sha256>      there only while that replica opens the file: a crash leaves it behind; one line with
                                the machine's start for each load
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.answering.served import Version
from serving.errors import RefusedModelError

UNUSED_SECONDS = 600
"""Another replica may be about to name a file that no record names yet; after this age it is not."""

CRASHES_OF_A_NEW_FILE = 2
"""One death may be anything's doing, such as the memory of another process; the second is the file's."""

CRASHES_OF_A_PROVEN_FILE = 3
"""A file that has served before did not cause a crash, but this does not hold forever."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux's name of the time since the machine started."""


class ServedRecord(BaseModel):
    """The champion of one model as it was last opened with success, and the file before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    sha256: str
    since: str
    previous_sha256: str | None = None


class ModelFiles:
    """The state directory of one replica, which it shares with the others of its volume.

    >>> ModelFiles(Path("/var/lib/serving"), "replica-1")
    """

    def __init__(self, folder: Path, replica: str) -> None:
        self._files = folder / "files"
        self._served = folder / "served"
        self._loading = folder / "loading" / replica
        for directory in (self._files, self._served):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the file of a digest stands, or will stand."""
        return self._files / f"{sha256}.onnx"

    def temporary_path(self) -> Path:
        """A new name to write a file under before it is kept."""
        return self._files / f"{uuid4().hex}.part"

    def keep(self, temporary: Path, sha256: str) -> None:
        """Renames a complete file to its digest, atomically and safe against a power cut."""
        _flush(temporary)
        temporary.replace(self.path(sha256))
        _flush(self._files)

    def read(self, sha256: str) -> bytes | None:
        """The bytes of a file, or None where there is none; a file whose bytes have another digest is removed."""
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
        self.path(sha256).unlink(missing_ok=True)
        return None

    def records(self) -> dict[str, ServedRecord]:
        """The last good champion of each model; a record that cannot be read is left out."""
        found = {}
        for path in self._served.glob("*.json"):
            try:
                record = ServedRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
            found[record.name] = record
        return found

    def record(self, served: Version, since: str) -> None:
        """Records a champion that has opened, and keeps the record of the one before it."""
        before = self.records().get(served.name)
        previous = None
        if before:
            previous = before.sha256 if before.sha256 != served.sha256 else before.previous_sha256
        record = ServedRecord(
            name=served.name,
            version=served.version,
            sha256=served.sha256,
            since=since,
            previous_sha256=previous,
        )
        temporary = self._served / f"{uuid4().hex}.part"
        temporary.write_text(record.model_dump_json())
        _flush(temporary)
        temporary.replace(self._served / f"{served.name}.json")
        _flush(self._served)

    @contextmanager
    def guard_load(self, version: Version) -> Iterator[None]:
        """Marks a load for as long as it lasts; only the death of the process leaves the mark.

        Raises:
            RefusedModelError: earlier loads of this file ended this replica's process, while the machine ran on.
            OSError: the mark cannot be written, such as on a full disk, and the file has not served before.
        """
        mark, is_proven = self._loading / version.sha256, self._is_proven(version.sha256)
        crashes = _count_crashes(mark)
        if crashes >= (CRASHES_OF_A_PROVEN_FILE if is_proven else CRASHES_OF_A_NEW_FILE):
            raise RefusedModelError(
                f"{version.name} version {version.version}: found the mark of {crashes} load(s) that ended this "
                f"process, expected none; register another version, or remove {mark} to try again"
            )
        try:
            self._mark(mark)
        except OSError:
            # The last good version must open on a full disk as well.
            if not is_proven:
                raise
        try:
            yield
        finally:
            with suppress(OSError):  # where none could be written
                mark.unlink(missing_ok=True)
            with suppress(OSError):  # another mark is in it; an empty folder would stay for every replica that ever was
                self._loading.rmdir()

    def prune(self, in_use: set[str]) -> None:
        """Removes files that no record names and that are too old to get into one."""
        wanted = set(in_use)
        for record in self.records().values():
            wanted |= {record.sha256, record.previous_sha256 or record.sha256}
        oldest = time.time() - UNUSED_SECONDS
        for path in [*self._files.iterdir(), *self._served.glob("*.part")]:
            if path.stem not in wanted and _modified(path) < oldest:
                path.unlink(missing_ok=True)

    def _mark(self, mark: Path) -> None:
        self._loading.mkdir(parents=True, exist_ok=True)
        with mark.open("a") as file:
            file.write(f"{_read_boot_id()}\n")
        _flush(mark)
        _flush(self._loading)

    def _is_proven(self, sha256: str) -> bool:
        return any(sha256 in (record.sha256, record.previous_sha256) for record in self.records().values())


def _count_crashes(mark: Path) -> int:
    """The loads that ended their process; one that ended with the machine, by a power cut or a restart, is not among.

    A mark of an older version of this program does not name the machine's start and condemns nothing.
    """
    try:
        lines = mark.read_text(errors="replace").splitlines()
    except OSError:  # there is none, or the disk is too full for its folder
        return 0
    return lines.count(_read_boot_id())


def _read_boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # not Linux
        return "unknown"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another replica removed it first
        return time.time()
