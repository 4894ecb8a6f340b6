"""Loads a CSV file of employees into the warehouse: each content once, all valid rows or none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from ml_code.addresses import SAMPLES, NamedFiles
from ml_code.data.quarantine import REPORT_BYTES, REPORT_ROWS, Quarantine
from ml_code.errors import DataCheckError, StorageError
from ml_code.etl.employee_schema import EXPECTED, find_bad_rows
from ml_code.reading.blocks import BadRow
from ml_code.reading.csv_records import CsvRecords
from ml_code.reading.grammar import show_columns
from ml_code.warehouse import Cursor, copy_csv
from ml_code.workspace import Workspace

SAMPLE = SAMPLES / "employees.csv"
TARGET = "employees"

BAD_ROWS_SHARE = 0.1
"""Largest share of bad rows: a file with more is not loaded at all."""

LOAD_LOCK = 7_305_002
"""Key of the advisory lock that admits one load at a time: two runs with one file load it once."""

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The outcome of a load; `rows_good + rows_quarantined == rows_read`, and `rows_changed` includes new rows."""

    uri: str
    sha256: str
    rows_read: int
    rows_good: int
    rows_quarantined: int
    rows_changed: int
    quarantine_uri: str | None
    is_already_loaded: bool

    def describe(self) -> str:
        """One line for a log."""
        if self.is_already_loaded:
            return f"{self.uri}: already loaded, nothing changed"
        place = f" ({self.quarantine_uri})" if self.quarantine_uri else ""
        return (
            f"{self.uri}: {self.rows_read} rows read, {self.rows_good} good, "
            f"{self.rows_quarantined} in quarantine{place}, {self.rows_changed} new or changed in the warehouse"
        )


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file with a valid header, and the sha256 of its content."""

    uri: str
    sha256: str


def find_file(workspace: Workspace, path: str) -> HashedFile:
    """Finds a file by its URI or path, or the shipped sample if the path is empty, and checks its header.

    Raises:
        StorageError: a person may not name the file, or it cannot be read.
        SourceError: its header is not readable.
        DataCheckError: its columns are not those of the warehouse's table.
    """
    files = workspace.named_files
    uri = files.resolve(path or str(SAMPLE))
    with files.open(uri) as stream:
        _check_header(CsvRecords(stream, uri), uri)
    return HashedFile(uri, _hash_file(files, uri))


def load_employees(workspace: Workspace, uri: str) -> LoadReport:
    """Loads the file's valid rows in one transaction, and writes the report of the others.

    Raises:
        SettingsError: the settings name no warehouse.
        StorageError: the file cannot be read, changes while it is read, or the report cannot be written.
        SourceError: it is not a CSV file with rows.
        DataCheckError: its columns are wrong, or too many rows are bad.
        WarehouseError: the database cannot be reached, or the connection breaks.
    """
    load = _Load(workspace, HashedFile(uri, _hash_file(workspace.named_files, uri)))
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
        return load.find_earlier(cursor) or load.run(cursor)


class _Load:
    """One file on its way into the warehouse, within one transaction."""

    def __init__(self, workspace: Workspace, file: HashedFile) -> None:
        self._storage, self._files, self._file = workspace.storage, workspace.named_files, file
        self._quarantine = Quarantine(file.uri)
        self._quarantine_uri = workspace.places.locate_quarantine(TARGET, file.sha256)

    def find_earlier(self, cursor: Cursor) -> LoadReport | None:
        """Finds the report of an earlier load of the same content, under any name."""
        cursor.execute(
            "SELECT rows_read, rows_good, rows_quarantined, rows_changed, quarantine_uri "
            "FROM warehouse.loaded_file WHERE target = %s AND sha256 = %s",
            (TARGET, self._file.sha256),
        )
        row = cursor.fetchone()
        if row is None:
            return None
        rows_read, rows_good, rows_quarantined, rows_changed, report_uri = row
        return LoadReport(
            uri=self._file.uri,
            sha256=self._file.sha256,
            rows_read=rows_read,
            rows_good=rows_good,
            rows_quarantined=rows_quarantined,
            rows_changed=rows_changed,
            quarantine_uri=report_uri,
            is_already_loaded=True,
        )

    def run(self, cursor: Cursor) -> LoadReport:
        """Stages, checks and merges the rows."""
        cursor.execute(
            "CREATE TEMP TABLE staging (place bigint GENERATED ALWAYS AS IDENTITY, employee_id bigint, name text, "
            "department text, salary numeric(12, 2), hired_on date) ON COMMIT DROP"
        )
        rows_staged = self._stage(cursor)
        rows_read = rows_staged + self._quarantine.rows
        rows_repeated = 0 if self._quarantine.is_full else self._remove_repeated(cursor)
        has_bad = self._quarantine.rows > 0
        if has_bad:
            self._storage.write_bytes(self._quarantine_uri, self._quarantine.to_csv())
        self._check_share(rows_read)
        report = LoadReport(
            uri=self._file.uri,
            sha256=self._file.sha256,
            rows_read=rows_read,
            rows_good=rows_staged - rows_repeated,
            rows_quarantined=self._quarantine.rows,
            rows_changed=_merge(cursor, self._file.sha256),
            quarantine_uri=self._quarantine_uri if has_bad else None,
            is_already_loaded=False,
        )
        _record(cursor, report)
        return report

    def _stage(self, cursor: Cursor) -> int:
        """Copies the text of the valid rows to the staging table, and returns their number.

        The database copies one block while the next one is checked.
        """
        rows = 0
        copied: Future[None] | None = None
        with _open_unchanged(self._files, self._file) as stream, ThreadPoolExecutor(1, "copy") as pool:
            records = CsvRecords(stream, self._file.uri)
            _check_header(records, self._file.uri)
            for block in records:
                bad = find_bad_rows(block)
                self._quarantine.add(sorted([*block.bad, *bad.values()], key=lambda row: row.line))
                good = [raw for index, raw in enumerate(block.raw) if index not in bad]
                rows += len(good)
                if copied is not None:
                    copied.result()
                copied = pool.submit(copy_csv, cursor, "staging", records.header, b"\n".join([*good, b""]))
            if copied is not None:
                copied.result()
        return rows

    def _remove_repeated(self, cursor: Cursor) -> int:
        """Deletes all but the first row of each employee from the staging table, and returns their number."""
        cursor.execute(
            "SELECT coalesce(sum(found - 1), 0) FROM "
            "(SELECT count(*) AS found FROM staging GROUP BY employee_id HAVING count(*) > 1) AS repeated"
        )
        if cursor.fetchall() == [(0,)]:
            return 0
        cursor.execute(
            "SELECT place, employee_id, first FROM (SELECT place, employee_id, "
            "min(place) OVER (PARTITION BY employee_id) AS first FROM staging) AS seen "
            "WHERE place > first ORDER BY place LIMIT %s",
            (REPORT_ROWS + 1,),
        )
        repeated = cursor.fetchall()
        cursor.execute("DELETE FROM staging WHERE place = ANY(%s)", ([place for place, _, _ in repeated],))
        found = self._find_places({place for row in repeated for place in (row[0], row[2])})
        for place, employee_id, first in repeated:
            reason = f"found {employee_id} again, first on line {found[first][0]}; expected each once"
            line, raw = found[place]
            self._quarantine.add([BadRow(line, "employee_id", reason, raw.decode())])
        return len(repeated)

    def _find_places(self, places: Set[int]) -> dict[int, tuple[int, bytes]]:
        """Line and raw text of the rows at these places of the staging table, counted from 1.

        It reads and checks the file again: storing line and text of every row would cost more.
        """
        found: dict[int, tuple[int, bytes]] = {}
        place = 0
        with _open_unchanged(self._files, self._file) as stream:
            for block in CsvRecords(stream, self._file.uri):
                bad = find_bad_rows(block)
                for index, line in enumerate(block.lines):
                    if index in bad:
                        continue
                    place += 1
                    if place in places:
                        found[place] = line, block.raw[index]
        return found

    def _check_share(self, rows_read: int) -> None:
        found = self._quarantine.rows
        if found > BAD_ROWS_SHARE * rows_read or self._quarantine.is_full:
            raise DataCheckError(
                f"file {self._file.uri}: found {found} bad rows of {rows_read}, expected at most {BAD_ROWS_SHARE:.0%} "
                f"and no more than {REPORT_ROWS} rows or {REPORT_BYTES} bytes of them; nothing was loaded, "
                f"see {self._quarantine_uri} and fix the file"
            )


def _merge(cursor: Cursor, sha256: str) -> int:
    """Merges the staged rows into the table, and returns the number of new or changed rows; equal rows stay."""
    cursor.execute(
        "INSERT INTO warehouse.employees AS old (employee_id, name, department, salary, hired_on, loaded_from) "
        "SELECT employee_id, name, department, salary, hired_on, %s FROM staging "
        "ON CONFLICT (employee_id) DO UPDATE SET name = EXCLUDED.name, department = EXCLUDED.department, "
        "salary = EXCLUDED.salary, hired_on = EXCLUDED.hired_on, loaded_from = EXCLUDED.loaded_from, loaded_at = now() "
        "WHERE (old.name, old.department, old.salary, old.hired_on) IS DISTINCT FROM "
        "(EXCLUDED.name, EXCLUDED.department, EXCLUDED.salary, EXCLUDED.hired_on)",
        (sha256,),
    )
    return cursor.rowcount


def _record(cursor: Cursor, report: LoadReport) -> None:
    cursor.execute(
        "INSERT INTO warehouse.loaded_file (target, sha256, uri, rows_read, rows_good, rows_quarantined, "
        "rows_changed, quarantine_uri) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            TARGET,
            report.sha256,
            report.uri,
            report.rows_read,
            report.rows_good,
            report.rows_quarantined,
            report.rows_changed,
            report.quarantine_uri,
        ),
    )


def _check_header(records: CsvRecords, uri: str) -> None:
    if set(records.header) != set(EXPECTED):
        raise DataCheckError(
            f"file {uri}: found the columns {show_columns(records.header, EXPECTED)}, "
            f"expected {', '.join(EXPECTED)} in any order; "
            "rename, add or remove columns in the file"
        )


class _HashedStream:
    """A stream that hashes all bytes read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.hash.update(content)
        return content

    def read_to_end(self) -> str:
        """Reads the rest, and returns the sha256 of the whole stream."""
        while self.read(CHUNK_BYTES):
            pass
        return self.hash.hexdigest()


def _hash_file(files: NamedFiles, uri: str) -> str:
    with files.open(uri) as stream:
        return _HashedStream(stream).read_to_end()


@contextmanager
def _open_unchanged(files: NamedFiles, file: HashedFile) -> Iterator[BinaryIO]:
    """Opens the file again; raises an error at the end if its sha256 has changed."""
    with files.open(file.uri) as stream:
        hashed = _HashedStream(stream)
        yield cast("BinaryIO", hashed)
        if (sha256 := hashed.read_to_end()) != file.sha256:
            raise StorageError(
                f"file {file.uri}: found sha256 {sha256}, expected {file.sha256} as it was a moment ago; "
                "it changed while it was read, load it again"
            )
