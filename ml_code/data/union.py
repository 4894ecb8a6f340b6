"""The union of a dataset's source and accepted files: which of their rows count.

Without a key every row counts, and each content once. With a key the newest row of each key counts. A file is newer
than the source, however late the source changes, and newer than the files that were accepted before it. Live rows have
a key of their own, so they never replace another row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from ml_code.data.clean_files import SOURCE, CleanFile, CleanFiles
from ml_code.data.live_rows import LIVE, LIVE_ID, PENDING, describe_live
from ml_code.data.validation import check_rows, narrow_target
from ml_code.data.versions import digest_rows, read_present
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace

type AcceptedFile = tuple[CleanFile, pd.DataFrame]

log = logging.getLogger(__name__)


def choose_counting(names: Iterable[str], source_sha256: str) -> list[str]:
    """The names of the contents that count: every file, and the source's present state unless it is one of them.

    Pending live rows count only for the retraining that wrote them.
    """
    files = [name for name in names if not name.startswith((SOURCE, PENDING))]
    source = SOURCE + source_sha256
    return files if source_sha256 in files or source not in names else [source, *files]


def unite(dataset: Dataset, files: Iterable[AcceptedFile]) -> pd.DataFrame:
    """Unites accepted files: every row, or the newest row of each key.

    Their rows are checked again, because the catalog may have changed since their acceptance.

    Raises:
        DataCheckError: no row of them fits the present catalog.
    """
    found = list(files)
    parts = list(_check_in_order(dataset, found))
    if not any(len(rows) for _, rows in parts):
        raise DataCheckError(
            f"{dataset.name}: found {len(found)} accepted files and no row in them that fits the catalog, "
            "expected at least one; fix the catalog, or bring a file by `mlops dataset put`"
        )
    own = _keep_newest([rows for file, rows in parts if not file.is_live], dataset.key)
    live = _keep_newest([rows for file, rows in parts if file.is_live], LIVE_ID)
    return narrow_target(dataset, pd.concat([*own, *live], ignore_index=True))


def _keep_newest(parts: list[pd.DataFrame], key: str | None) -> list[pd.DataFrame]:
    """The parts in one, with the last row of each key; nothing of no part."""
    if not parts:
        return []
    rows = pd.concat(parts, ignore_index=True)
    return [rows if key is None else rows.drop_duplicates(subset=[key], keep="last", ignore_index=True)]


class CountingContent:
    """The contents that count in the present union of a dataset; read once for a batch of incoming files."""

    def __init__(self, workspace: Workspace, dataset: Dataset) -> None:
        self._dataset = dataset
        self._files = CleanFiles(workspace, dataset)
        present = read_present(workspace, dataset.name)
        self._source = present.source if present else ""
        self._newest: dict[Any, bytes] | None = None

    def find(self, sha256: str) -> CleanFile | None:
        """Finds the accepted file, or the present source, of this content; None if a row of it does not count.

        Bringing such a content again would change nothing.

        Raises:
            StorageError: the store refuses.
        """
        name = self._find_name(sha256)
        if name is None:
            return None
        file, stored = self._files.read(name)
        for _, rows in _check_in_order(self._dataset, [(file, stored)]):
            if len(rows) == len(stored) and self._are_newest(rows):
                return file
        return None

    def add(self, file: CleanFile) -> None:
        """Counts a file that was just accepted.

        Raises:
            StorageError: the store refuses.
        """
        if self._newest is not None:
            self._newest |= self._digest_keys([file.sha256])

    def _find_name(self, sha256: str) -> str | None:
        """The name of a content that counts, by look-ups of that one: each file of thousands would list them all."""
        if self._files.has(sha256):
            return sha256
        return SOURCE + sha256 if sha256 == self._source and self._files.has(SOURCE + sha256) else None

    def _are_newest(self, rows: pd.DataFrame) -> bool:
        if self._dataset.key is None:
            return True
        if self._newest is None:
            self._newest = self._digest_keys(choose_counting(self._files.list_names(), self._source))
        newest = self._newest
        return all(newest.get(key) == digest for key, digest in _digest_newest(self._dataset.key, rows).items())

    def _digest_keys(self, names: list[str]) -> dict[Any, bytes]:
        newest: dict[Any, bytes] = {}
        files = [self._files.read(name) for name in names if not name.startswith(LIVE)]
        for _, rows in _check_in_order(self._dataset, files):
            newest |= _digest_newest(str(self._dataset.key), rows)
        return newest


def _digest_newest(key: str, rows: pd.DataFrame) -> dict[Any, bytes]:
    """Digest of the last row of each key, a text or a number."""
    return dict(zip(rows[key].tolist(), digest_rows(rows), strict=True))


def _check_in_order(dataset: Dataset, files: Iterable[AcceptedFile]) -> Iterator[AcceptedFile]:
    """Yields the files from the oldest to the newest, with the rows that fit the present catalog."""
    for file, frame in sorted(files, key=lambda part: (not part[0].is_source, part[0].accepted_at, part[0].sha256)):
        try:
            checked = check_rows(describe_live(dataset) if file.is_live else dataset, frame)
        except DataCheckError as error:
            log.warning("%s: %s is left out of the snapshot: %s", dataset.name, file.origin, error)
            continue
        if checked.bad:
            log.warning("%s: %d rows of %s break the present checks", dataset.name, len(checked.bad), file.origin)
        yield file, checked.good
