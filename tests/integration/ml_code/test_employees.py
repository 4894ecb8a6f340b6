"""Employees loaded into a real Postgres from a real object store."""

from __future__ import annotations

import csv
import gzip
import io
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from ml_code.errors import DataCheckError, SourceError, StorageError, WarehouseError
from ml_code.etl import employees
from ml_code.etl.employees import LoadReport, load_employees
from ml_code.reading import csv_records
from ml_code.settings import Settings
from ml_code.storage import Storage
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.servers import ObjectStore, PostgresServer

HEADER = b"employee_id,name,department,salary,hired_on"
URI = "s3://datasets/incoming/employees.csv"


@pytest.fixture
def workspace(postgres: PostgresServer, object_store: ObjectStore) -> Workspace:
    dsn = postgres.create_database(f"warehouse_{secrets.token_hex(4)}")
    Warehouse(dsn).migrate()
    settings = Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="trainer",
        mlflow_password=SecretStr("secret"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
        warehouse_dsn=SecretStr(dsn),
    )
    return open_workspace(settings)


def make_rows(count: int, first: int = 1) -> list[bytes]:
    numbers = range(first, first + count)
    return [b"%d,Employee %d,Sales,%d.50,2020-01-%02d" % (n, n, 30000 + n, n % 28 + 1) for n in numbers]


def put(workspace: Workspace, *lines: bytes, uri: str = URI, end: bytes = b"\n") -> str:
    workspace.storage.write_bytes(uri, b"".join(line + end for line in lines))
    return uri


def query(workspace: Workspace, statement: str) -> list[tuple[Any, ...]]:
    assert workspace.settings.warehouse_dsn
    connection = psycopg2.connect(workspace.settings.warehouse_dsn.get_secret_value())
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def count_rows(workspace: Workspace) -> int:
    return int(query(workspace, "SELECT count(*) FROM warehouse.employees")[0][0])


def read_report(workspace: Workspace, report: LoadReport) -> list[dict[str, str]]:
    assert report.quarantine_uri
    return list(csv.DictReader(io.StringIO(workspace.storage.read_bytes(report.quarantine_uri).decode(), newline="")))


def test_good_rows_arrive_typed(workspace: Workspace) -> None:
    row = b'7,"Lee, ""Jr.""\n\\.\nx",R&D,52000.5,2024-02-29'
    report = load_employees(workspace, put(workspace, HEADER, *make_rows(3), row))
    assert (report.rows_read, report.rows_good, report.rows_quarantined, report.rows_changed) == (4, 4, 0, 4)
    assert report.quarantine_uri is None
    statement = "SELECT name, department, salary::text, hired_on::text, loaded_from FROM warehouse.employees"
    assert query(workspace, f"{statement} WHERE employee_id = 7") == [
        ('Lee, "Jr."\n\\.\nx', "R&D", "52000.50", "2024-02-29", report.sha256)
    ]


BAD = [
    (b"x1,Kim,Sales,1.00,2020-01-01", "employee_id", "expected a whole number"),
    (b"902,Kim,Sales,much,2020-01-01", "salary", "found 'much', expected a number"),
    (b"903,,Sales,1.00,2020-01-01", "name", "found nothing, expected a text"),
    (b"904,Kim,Sales,1.00,2020-01-01,more", "", "too many fields: found 6, expected 5"),
    (b"905,Kim", "", "too few fields: found 2, expected 5"),
    (b'906,"Kim,Sales,1.00,2020-01-01', "", "broken quotes"),
    (b"5,Kim,Sales,1.00,2020-01-01", "employee_id", "found 5 again, first on line 6"),
    (b"907,\xb1\xe8,Sales,1.00,2020-01-01", "name", "not UTF-8"),
    (b"908,Kim,Sales,1.00,2020-02-30", "hired_on", "found '2020-02-30', expected a date"),
    (b"909,Ki\0m,Sales,1.00,2020-01-01", "name", "NUL byte"),
]


def test_bad_rows_of_all_kinds_are_set_aside_with_their_reason(workspace: Workspace) -> None:
    rows = make_rows(190)
    for number, (raw, _, _) in enumerate(BAD):
        rows.insert(10 + 17 * number, raw)
    report = load_employees(workspace, put(workspace, HEADER, *rows))
    assert (report.rows_read, report.rows_good, report.rows_quarantined) == (200, 190, 10)
    assert count_rows(workspace) == report.rows_good == report.rows_changed
    found = sorted(read_report(workspace, report), key=lambda row: int(row["line"]))
    assert [row["file"] for row in found] == [URI] * 10
    assert [int(row["line"]) for row in found] == [12 + 17 * number for number in range(10)]
    assert [row["column"] for row in found] == [column for _, column, _ in BAD]
    assert [row["raw"] for row in found] == [raw.decode(errors="backslashreplace") for raw, _, _ in BAD]
    for row, (_, _, reason) in zip(found, BAD, strict=True):
        assert reason in row["reason"]
    assert query(workspace, "SELECT name FROM warehouse.employees WHERE employee_id = 5") == [("Employee 5",)]


def test_too_many_bad_rows_change_nothing_but_are_reported(workspace: Workspace) -> None:
    load_employees(workspace, put(workspace, HEADER, *make_rows(5)))
    bad = [b"%d,,Sales,1,2020-01-01" % number for number in range(100, 112)]
    uri = put(workspace, HEADER, *make_rows(100, first=3), *bad)
    with pytest.raises(
        DataCheckError, match=r"found 12 bad rows of 112, expected at most 10%.*quarantine/employees/"
    ) as e:
        load_employees(workspace, uri)
    assert count_rows(workspace) == 5
    report = next(word for word in str(e.value).split() if "/quarantine/" in word)
    assert len(workspace.storage.read_bytes(report).splitlines()) == 13


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mark_at_the_start_line_ends_and_another_order_of_columns_are_no_matter(
    workspace: Workspace, end: bytes
) -> None:
    header = b"\xef\xbb\xbfhired_on,employee_id,salary,department,name"
    report = load_employees(workspace, put(workspace, header, b'2020-01-31,1,5,Sales,"Kim\r\nMin"', end=end))
    assert report.rows_good == 1
    assert query(workspace, "SELECT employee_id, name FROM warehouse.employees") == [(1, "Kim\r\nMin")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (HEADER + b"\n", "a header and no rows"),
        (gzip.compress(b"\n".join([HEADER, *make_rows(2000)]))[:-500], "truncated or damaged"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(workspace: Workspace, content: bytes, message: str) -> None:
    uri = f"{URI}.gz" if content[:2] == b"\x1f\x8b" else URI
    workspace.storage.write_bytes(uri, content)
    with pytest.raises(SourceError, match=message):
        load_employees(workspace, uri)
    assert count_rows(workspace) == 0


def test_a_packed_file_is_loaded(workspace: Workspace) -> None:
    workspace.storage.write_bytes(f"{URI}.gz", gzip.compress(b"\n".join([HEADER, *make_rows(20)])))
    assert load_employees(workspace, f"{URI}.gz").rows_good == 20


def test_the_same_content_is_loaded_once_whatever_its_name(workspace: Workspace) -> None:
    lines = [HEADER, *make_rows(30)]
    first = load_employees(workspace, put(workspace, *lines))
    again = load_employees(workspace, URI)
    renamed = load_employees(workspace, put(workspace, *lines, uri="s3://datasets/incoming/other.csv"))
    assert (first.is_already_loaded, again.is_already_loaded, renamed.is_already_loaded) == (False, True, True)
    assert renamed.describe() == "s3://datasets/incoming/other.csv: already loaded, nothing changed"
    assert count_rows(workspace) == 30


def test_the_same_file_twice_at_once_is_loaded_once(workspace: Workspace) -> None:
    put(workspace, HEADER, *make_rows(5000))
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: load_employees(workspace, URI), range(2)))
    assert sorted(report.is_already_loaded for report in reports) == [False, True]
    assert count_rows(workspace) == 5000


def test_only_rows_that_differ_are_changed_and_older_values_do_not_come_back(workspace: Workspace) -> None:
    old = [HEADER, *make_rows(10)]
    load_employees(workspace, put(workspace, *old))
    newer = load_employees(workspace, put(workspace, HEADER, *make_rows(9), b"10,Promoted,Sales,99999,2020-01-11"))
    assert newer.rows_changed == 1
    assert load_employees(workspace, put(workspace, *old)).is_already_loaded
    assert query(workspace, "SELECT name FROM warehouse.employees WHERE employee_id = 10") == [("Promoted",)]
    assert query(workspace, "SELECT DISTINCT loaded_from FROM warehouse.employees WHERE employee_id = 10") == [
        (newer.sha256,)
    ]


class WatchedStorage(Storage):
    """Does something once, in the middle of the second reading of a file."""

    def __init__(self, settings: Settings, act: Callable[[], None]) -> None:
        super().__init__(settings)
        self.act, self.readings = act, 0

    @contextmanager
    def open(self, uri: str) -> Iterator[Any]:
        self.readings += 1
        if self.readings == 2:
            self.act()
        with super().open(uri) as stream:
            yield stream


def test_a_connection_that_is_cut_in_mid_load_leaves_nothing_and_the_next_try_finishes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, HEADER, *make_rows(1000))
    merge = employees._merge

    def merge_and_lose(cursor: Any, sha256: str) -> int:
        changed = merge(cursor, sha256)
        query(
            workspace,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return changed

    monkeypatch.setattr(employees, "_merge", merge_and_lose)
    with pytest.raises(WarehouseError, match=r"expected the connection to hold, found: "):
        load_employees(workspace, URI)
    assert count_rows(workspace) == 0
    monkeypatch.undo()
    report = load_employees(workspace, URI)
    assert (report.is_already_loaded, report.rows_changed, count_rows(workspace)) == (False, 1000, 1000)


def test_a_file_that_changes_while_it_is_read_is_not_loaded(workspace: Workspace) -> None:
    put(workspace, HEADER, *make_rows(10))
    storage = WatchedStorage(workspace.settings, lambda: put(workspace, HEADER, *make_rows(11)) and None)
    with pytest.raises(StorageError, match="it changed while it was read"):
        load_employees(replace(workspace, connect_storage=lambda _: storage), URI)
    assert count_rows(workspace) == 0


def test_rows_of_many_blocks_add_up(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(csv_records, "RECORD_BYTES", 1000)
    rows = make_rows(2000)
    rows[500] = rows[1500] = b"7,Again,Sales,1,2020-01-01"
    report = load_employees(workspace, put(workspace, HEADER, *rows))
    assert (report.rows_read, report.rows_good, report.rows_quarantined) == (2000, 1998, 2)
    assert [row["line"] for row in read_report(workspace, report)] == ["502", "1502"]
