from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from ml_code.errors import SettingsError
from ml_code.etl import forecasts
from ml_code.etl.forecasts import CATEGORIES, read_value
from ml_code.etl.kma_document import KST
from ml_code.etl.weather_errors import WeatherAnswerError, WeatherValueError
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace, open_workspace
from tests.kma_server import DECODING_KEY, VALUES, Answer, KmaServer, run_kma_server
from tests.offline_settings import make_offline_settings

NOON = datetime(2026, 11, 21, 12, 50, tzinfo=KST)


def make_workspace(folder: Path) -> Workspace:
    """Settings with a folder as the object store and no warehouse."""
    return open_workspace(make_offline_settings(folder))


def collect(kma: KmaServer, workspace: Workspace, now: datetime = NOON) -> str:
    return forecasts.collect(workspace, DECODING_KEY, kma.url, 60, 127, now=now)


@pytest.mark.parametrize(
    ("raw", "millimetres"),
    [
        # The guide: "-, null, 0값은 '강수없음'".
        ("강수없음", 0.0),
        ("-", 0.0),
        ("null", 0.0),
        (None, 0.0),
        ("0", 0.0),
        ("", 0.0),
        # The guide's table of ranges, and its spellings in other editions.
        ("1mm 미만", 0.1),
        ("1.0mm 미만", 0.1),
        ("1.0mm미만", 0.1),
        ("1.0mm", 1.0),
        ("6.2mm", 6.2),
        ("29.9mm", 29.9),
        ("6.2", 6.2),
        ("1.0~29.0mm", 1.0),
        ("30.0~50.0mm", 30.0),
        ("50.0mm 이상", 50.0),
        ("50.0mm이상", 50.0),
        ("-998.9", None),
    ],
)
def test_precipitation_is_the_lower_end_of_its_range(raw: str | None, millimetres: float | None) -> None:
    assert read_value("RN1", raw) == millimetres


@pytest.mark.parametrize("category", ["T1H", "REH", "WSD", "PTY", "LGT"])
@pytest.mark.parametrize("raw", ["900", "-900", "-998.9", "999", None, "", "-", "null"])
def test_a_missing_value_is_none(category: str, raw: str | None) -> None:
    assert read_value(category, raw) is None


@pytest.mark.parametrize(("raw", "value"), [("-3.5", -3.5), ("0", 0.0), ("899.9", 899.9), ("-899", -899.0)])
def test_a_number_is_itself(raw: str, value: float) -> None:
    assert read_value("T1H", raw) == value


@pytest.mark.parametrize(
    ("category", "raw"),
    [("T1H", "cold"), ("T1H", "nan"), ("T1H", "inf"), ("RN1", "약간"), ("RN1", "2mm 미만"), ("RN1", "mm")],
)
def test_a_text_that_the_guide_lacks_is_refused(category: str, raw: str) -> None:
    with pytest.raises(WeatherValueError, match=f"{category}: found '{raw}'"):
        read_value(category, raw)


def test_every_category_of_the_guide_has_a_column_with_its_unit() -> None:
    assert VALUES.keys() <= CATEGORIES.keys()
    ends = ("_c", "_mm", "_pct", "_code", "_m_per_s", "_deg", "_ka")
    assert all(category.column.endswith(ends) for category in CATEGORIES.values())


def test_the_csv_has_one_line_per_time_with_names_and_gaps() -> None:
    noon = datetime(2026, 11, 21, 3, tzinfo=KST) + timedelta(hours=9)
    rows = [
        (noon, "PTY", 3.0, noon - timedelta(minutes=90)),
        (noon, "T1H", -3.5, noon - timedelta(minutes=30)),
        (noon, "REH", None, noon - timedelta(minutes=30)),
        (noon, "NEW", 5.0, noon - timedelta(minutes=30)),
        (noon + timedelta(hours=1), "PTY", 4.0, noon),
    ]
    first, second = csv.DictReader(io.StringIO(forecasts._format_csv(rows).decode()))
    assert first["forecast_at"] == "2026-11-21T12:00:00+09:00"
    assert first["issued_at"] == "2026-11-21T11:30:00+09:00"
    assert (first["temperature_c"], first["humidity_pct"]) == ("-3.5", "")
    assert (first["precipitation_type_code"], first["precipitation_type"]) == ("3", "snow")
    # The guide has no 4 in the ultra-short-term forecast.
    assert (second["precipitation_type_code"], second["precipitation_type"]) == ("4", "unknown")


def test_an_issue_is_asked_for_once_and_kept_as_it_came(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with run_kma_server(NOON) as kma:
        uri = collect(kma, workspace)
        assert uri == f"{tmp_path}/weather/raw/20261121T1230_nx60_ny127.json"
        before = Path(uri).read_bytes()
        kma.values["T1H"] = "99"
        assert collect(kma, workspace, NOON + timedelta(minutes=20)) == uri
        assert Path(uri).read_bytes() == before
        assert len(kma.queries) == 1


def test_a_broken_object_is_collected_again(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with run_kma_server(NOON) as kma:
        uri = collect(kma, workspace)
        whole = Path(uri).read_bytes()
        Path(uri).write_bytes(whole[:100])
        assert collect(kma, workspace) == uri
        assert Path(uri).read_bytes() == whole


def test_a_response_without_a_forecast_is_not_stored(tmp_path: Path) -> None:
    with run_kma_server(NOON) as kma:
        kma.answers = [Answer("{}")]
        with pytest.raises(WeatherAnswerError):
            collect(kma, make_workspace(tmp_path))
    assert list(tmp_path.rglob("*.json")) == []


def test_without_a_warehouse_it_says_which_setting_is_missing(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    with run_kma_server(NOON) as kma:
        uri = collect(kma, workspace)
    with pytest.raises(SettingsError, match="MLOPS_WAREHOUSE_DSN"):
        forecasts.preprocess_and_save(workspace, uri)


class Turns:
    """A warehouse that notes what a run does while it has its place to itself, and when that ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[str] = []
        self.rowcount = 0

    @contextmanager
    def transaction(self) -> Iterator[Turns]:
        yield self
        self.seen.append("end with CSV" if list(self.folder.rglob("*.csv")) else "end without CSV")

    @contextmanager
    def cursor(self) -> Iterator[Turns]:
        yield self

    def execute(self, statement: str, values: tuple[object, ...]) -> None:
        words = {"lock": "pg_advisory_xact_lock", "write": "INSERT", "read": "ORDER BY"}
        self.seen += [name for name, word in words.items() if word in statement]

    def fetchall(self) -> list[object]:
        return []


def test_runs_of_one_place_take_turns_until_the_csv_is_written(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    workspace = Workspace(make_offline_settings(tmp_path), connect_warehouse=lambda _: cast(Warehouse, turns))
    with run_kma_server(NOON) as kma:
        uri = collect(kma, workspace)
    forecasts.preprocess_and_save(workspace, uri)
    assert turns.seen == ["lock", "write", "read", "end with CSV"]
