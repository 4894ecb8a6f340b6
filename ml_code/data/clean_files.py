"""The accepted files of a dataset, each with its checked rows as `clean/<dataset>/<sha256>.parquet`.

The file of the dataset's source is `source-<sha256>.parquet` there: only the source's present state counts. Live rows
are `live-<sha256>.parquet`, and `pending-<sha256>.parquet` as long as no model that was trained on them is promoted.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.data.live_rows import LIVE, LIVE_ID, PENDING, describe_live
from ml_code.data.quarantine import REPORT_BYTES, REPORT_ROWS, Quarantine
from ml_code.data.validation import check_rows, count_outside, refuse_missing_columns, refuse_too_many_bad
from ml_code.data.versions import digest_rows
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.reading.blocks import BadRow
from ml_code.reading.csv_records import RECORD_BYTES
from ml_code.reading.table import open_table, refuse_other_dialect
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

METADATA = b"mlops"
"""Key of the file's history in the Parquet metadata."""

SOURCE = "source-"

SHOWN_BAD_ROWS = 3

LARGEST_CSV_MB = 500
"""Limit of the unpacked size: checking needs five times that, and half a megabyte of gzip can hold it."""


@dataclass(frozen=True, slots=True)
class CleanFile:
    """One accepted file: its origin, the time of its acceptance, and its counts of rows.

    `outside` counts the good rows outside of a range that does not reject, by column.
    `object_tag` is the tag of the incoming object; a repeated step recognizes its own work by it. `model` is the one
    that answered the rows of a file of live rows.
    """

    sha256: str
    origin: str
    object_tag: str | None
    accepted_at: str
    rows: int
    bad_rows: int
    outside: Mapping[str, int] = field(default_factory=dict)
    is_live: bool = False
    model: str | None = None

    @property
    def is_source(self) -> bool:
        """Whether it is a state of the dataset's source, which is older than every file."""
        return self.object_tag is None and not self.is_live


class CleanFiles:
    """The accepted files of one dataset in the store.

    >>> CleanFiles(workspace, workspace.load_dataset("iris")).accept(content, "s3://datasets/incoming/iris/june.csv")
    """

    def __init__(self, workspace: Workspace, dataset: Dataset) -> None:
        self._dataset = dataset
        self._places = workspace.places
        self._storage = workspace.storage

    def list_names(self) -> list[str]:
        """The sorted names of the accepted files.

        Raises:
            StorageError: the store refuses.
        """
        return sorted(self.list_objects())

    def list_objects(self) -> dict[str, StoredObject]:
        """The stored object of each accepted file, by name; its tag changes with every acceptance.

        Raises:
            StorageError: the store refuses.
        """
        objects = self._storage.list_objects(f"{self._folder}/")
        return {found.uri.rsplit("/", 1)[-1].removesuffix(".parquet"): found for found in objects}

    def find(self, sha256: str) -> CleanFile | None:
        """Finds the accepted file of this content, without the source's; None if there is none.

        Raises:
            StorageError: the store refuses.
        """
        return self.read(sha256)[0] if self.has(sha256) else None

    def has(self, name: str) -> bool:
        """Whether there is an accepted file of this name.

        Raises:
            StorageError: the store refuses.
        """
        return self._storage.find(self._uri(name)) is not None

    def read(self, name: str) -> tuple[CleanFile, pd.DataFrame]:
        """Reads an accepted file with its rows: declared columns typed, the others text.

        Raises:
            StorageError: there is no such file, or the store refuses.
        """
        table = pq.read_table(io.BytesIO(self._storage.read_bytes(self._uri(name))))
        return CleanFile(**json.loads(table.schema.metadata[METADATA])), table.to_pandas()

    def accept(
        self, content: bytes, origin: str, object_tag: str | None = None, accepted_at: str | None = None
    ) -> CleanFile:
        """Checks a CSV file and stores its valid rows; invalid rows go to quarantine with line, column and reason.

        Args:
            content: of the file.
            origin: its address; `.gz` at its end means a packed file.
            object_tag: tag of the incoming object; None for the dataset's source.
            accepted_at: time of its acceptance, if a repeated step checks it again; None: now, so it is the newest.

        Raises:
            SourceError: it is not a CSV file with rows.
            DataCheckError: a column is missing, or more rows are invalid than the catalog accepts or a report holds.
            DataCheckError: the rows exceed the limit of memory.
            StorageError: the store refuses.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        good, bad = self._sort_rows(content, origin)
        rows = len(good) + len(bad)
        if bad:
            quarantine = self._write_report(sha256, origin, bad)
            if len(bad) > self._dataset.checks.bad_rows_share * rows:
                refuse_other_dialect(content[:RECORD_BYTES], origin, self._dataset.reading)
            self._refuse_bad(sha256, origin, bad, rows, quarantine)
        outside = count_outside(self._dataset, good)
        accepted = CleanFile(sha256, origin, object_tag, accepted_at or _get_now(), rows, len(bad), outside)
        name = SOURCE + sha256 if object_tag is None else sha256
        self._storage.write_bytes(self._uri(name), _write_parquet(good, accepted))
        return accepted

    def add_live(self, rows: pd.DataFrame, model: str) -> str:
        """Checks live rows by the catalog, and stores the valid ones as pending; invalid rows go to quarantine.

        Args:
            rows: the features and the target typed or as text, and the columns of live rows.
            model: the model that answered them.

        Returns:
            The name of the file; the same rows have one name.

        Raises:
            DataCheckError: more rows are invalid than the catalog accepts.
            StorageError: the store refuses.
        """
        origin = f"the prediction log of {model}"
        checked = check_rows(describe_live(self._dataset), rows)
        sha256 = hashlib.sha256(b"".join(sorted(digest_rows(rows)))).hexdigest()
        bad = [
            BadRow(index + 1, cell.column, cell.reason, rows.loc[index].to_json())
            for index, cell in checked.bad.items()
        ]
        if bad:
            self._refuse_bad(sha256, origin, bad, len(rows), self._write_report(sha256, origin, bad))
        accepted = CleanFile(sha256, origin, None, _get_now(), len(rows), len(bad), is_live=True, model=model)
        self._storage.write_bytes(self._uri(PENDING + sha256), _write_parquet(checked.good, accepted))
        return PENDING + sha256

    def confirm_live(self, name: str) -> None:
        """Makes pending live rows count for every training; a repeated call changes nothing.

        Raises:
            StorageError: the store refuses.
        """
        found = self._storage.find(self._uri(name))
        if found is not None:
            self._storage.move(found.uri, self._uri(LIVE + name.removeprefix(PENDING)), found.tag)

    def list_confirmed(self) -> set[str]:
        """The ids of the live rows that count for every training.

        Raises:
            StorageError: the store refuses.
        """
        names = [name for name in self.list_names() if name.startswith(LIVE)]
        return {row for name in names for row in self.read(name)[1][LIVE_ID]}

    def _write_report(self, sha256: str, origin: str, bad: list[BadRow]) -> Quarantine:
        quarantine = Quarantine(origin)
        quarantine.add(bad)
        report = self._places.locate_quarantine(self._dataset.name, sha256)
        self._storage.write_bytes(report, quarantine.to_csv())
        return quarantine

    def _refuse_bad(self, sha256: str, origin: str, bad: list[BadRow], rows: int, quarantine: Quarantine) -> None:
        """Refuses a file whose bad rows are too many, or more than a report holds."""
        report = self._places.locate_quarantine(self._dataset.name, sha256)
        shown = [row.describe() for row in bad[:SHOWN_BAD_ROWS]]
        share = self._dataset.checks.bad_rows_share
        refuse_too_many_bad(f"{self._dataset.name}: {origin} ({report})", shown, len(bad), rows, share)
        if quarantine.is_full:
            raise DataCheckError(
                f"{self._dataset.name}: {origin} ({report}): found {len(bad)} bad rows, which is more than a "
                f"report holds, expected at most {REPORT_ROWS} rows or {REPORT_BYTES} bytes; fix or split the file"
            )

    def _sort_rows(self, content: bytes, origin: str) -> tuple[pd.DataFrame, list[BadRow]]:
        good: list[pd.DataFrame] = []
        bad: list[BadRow] = []
        size_bytes = 0
        records = open_table(io.BytesIO(content), origin, self._dataset.reading, self._dataset.columns)
        refuse_missing_columns(self._dataset, records.header)  # before any row is read
        for block in records:
            size_bytes += sum(map(len, block.raw)) + sum(len(row.raw) for row in block.bad)
            if size_bytes > LARGEST_CSV_MB * 1_000_000:
                raise DataCheckError(
                    f"{self._dataset.name}: {origin}: found rows of more than {LARGEST_CSV_MB} MB once unpacked, "
                    "expected at most that, which fits the memory; split the file"
                )
            checked = check_rows(self._dataset, block.frame)
            good.append(checked.good)
            bad += block.bad
            bad += [
                BadRow(block.lines[index], cell.column, cell.reason, block.raw[index].decode())
                for index, cell in checked.bad.items()
            ]
            # The file is refused in any case; a hundred megabytes of bad rows would exhaust the memory.
            if len(bad) > REPORT_ROWS:
                break
        return pd.concat(good, ignore_index=True), sorted(bad, key=lambda row: row.line)

    def _uri(self, name: str) -> str:
        return f"{self._folder}/{name}.parquet"

    @property
    def _folder(self) -> str:
        return self._places.locate_clean(self._dataset.name)


def _get_now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _write_parquet(frame: pd.DataFrame, accepted: CleanFile) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, METADATA: json.dumps(asdict(accepted))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
