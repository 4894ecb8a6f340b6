"""Weather forecasts as rows of the warehouse and as CSV: the steps of the DAG `crawling_weather`."""

from __future__ import annotations

import csv
import io
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ml_code.errors import StorageError
from ml_code.etl.kma_api import KmaApi, find_issue
from ml_code.etl.kma_document import KST, ForecastItem, Place, read_items
from ml_code.etl.weather_errors import WeatherAnswerError, WeatherValueError
from ml_code.storage import Storage
from ml_code.warehouse import Cursor
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)

type TableRow = tuple[datetime, str, float | None, datetime]
"""forecast_at, category, value, issued_at."""

MISSING_FROM = 900
"""The guide calls a value missing from +900 up and from -900 down (no instrument, or a failed one)."""

NO_RAIN = {None, "", "-", "0", "null", "강수없음"}
"""Texts for "no precipitation": the guide's list for RN1."""

FEWER_THAN_1_MM = 0.1
"""Lower end of "less than 1 mm" (1mm 미만): the guide gives that range as 0.1 to 1.0 mm."""


@dataclass(frozen=True, slots=True)
class Category:
    """A category of the guide's table: its column in the CSV, its unit, and the names of its codes."""

    column: str
    unit: str
    names: Mapping[float, str] = field(default_factory=dict)


CATEGORIES = {
    "T1H": Category("temperature_c", "°C"),
    "RN1": Category("precipitation_mm", "mm"),
    # In the ultra-short-term forecast since June 2026; most copies of the guide lack it.
    "POP": Category("precipitation_probability_pct", "%"),
    "PTY": Category(
        "precipitation_type_code",
        "code",
        {
            0: "none",
            1: "rain",
            2: "rain and snow",
            3: "snow",
            5: "raindrops",
            6: "raindrops and flurries",
            7: "flurries",
        },
    ),
    "SKY": Category("sky_code", "code", {1: "clear", 3: "mostly cloudy", 4: "overcast"}),
    "REH": Category("humidity_pct", "%"),
    "WSD": Category("wind_speed_m_per_s", "m/s"),
    "VEC": Category("wind_direction_deg", "deg"),
    "UUU": Category("wind_eastward_m_per_s", "m/s"),
    "VVV": Category("wind_northward_m_per_s", "m/s"),
    "LGT": Category("lightning_ka", "kA"),
}

UPSERT = """
INSERT INTO warehouse.weather_forecast AS old (nx, ny, issued_at, forecast_at, category, value, unit, raw)
SELECT %s, %s, %s, item.*
FROM unnest(%s::timestamptz[], %s::text[], %s::double precision[], %s::text[], %s::text[]) AS item
ON CONFLICT (nx, ny, forecast_at, category) DO UPDATE
SET value = excluded.value, unit = excluded.unit, raw = excluded.raw,
    issued_at = excluded.issued_at, collected_at = excluded.collected_at
WHERE old.issued_at < excluded.issued_at
"""
SELECT_PLACE = """
SELECT forecast_at, category, value, issued_at FROM warehouse.weather_forecast
WHERE nx = %s AND ny = %s ORDER BY forecast_at, category
"""


@dataclass(frozen=True, slots=True)
class SavedForecast:
    """The outcome of one issue: its rows, the rows that changed the table, and the CSV."""

    row_count: int
    changed_count: int
    csv_uri: str


def collect(workspace: Workspace, key: str | None, base_url: str | None, nx: int, ny: int, *, now: datetime) -> str:
    """Stores the newest issue at that time unchanged, and returns its URI; a stored issue is not requested again.

    Raises:
        WeatherError: the API refuses or is not reached.
        StorageError: the object store refuses.
    """
    api, place, issued_at = KmaApi(key, base_url), Place(nx, ny), find_issue(now)
    storage = workspace.storage
    uri = workspace.places.locate_weather(f"raw/{issued_at:%Y%m%dT%H%M}_{place}.json")
    if _is_stored(storage, uri):
        log.info("issue %s of %s: nothing to do, it is already stored as %s", issued_at.isoformat(), place, uri)
        return uri
    storage.write_bytes(uri, api.fetch_forecast(place, issued_at))
    log.info("issue %s of %s: stored as %s", issued_at.isoformat(), place, uri)
    return uri


def preprocess_and_save(workspace: Workspace, raw_uri: str) -> SavedForecast:
    """Saves a stored issue to the warehouse, except where a newer one is, and writes the place's CSV.

    Raises:
        WeatherAnswerError: the object is not a stored issue.
        WeatherValueError: a value cannot be read.
        SettingsError: the settings name no warehouse.
        WarehouseError: the warehouse cannot be reached.
        StorageError: the object store refuses.
    """
    storage = workspace.storage
    items = read_items(storage.read_bytes(raw_uri))
    if not items:
        raise WeatherAnswerError(f"{raw_uri}: found no values, expected some; delete the object and collect again")
    place, issued_at = items[0].place, items[0].issued_at.isoformat()
    csv_uri = workspace.places.locate_weather(f"{place}.csv")
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        # Runs of one place take turns until the CSV is written: otherwise the slower one replaces newer rows there.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"weather/{place}",))
        changed_count, rows = _save(cursor, items)
        storage.write_bytes(csv_uri, _format_csv(rows))
    if changed_count:
        log.info("issue %s of %s: %d of %d values are new", issued_at, place, changed_count, len(items))
    else:
        log.info("issue %s of %s: nothing changed, it or a newer one was saved before", issued_at, place)
    return SavedForecast(len(items), changed_count, csv_uri)


def read_value(category: str, raw: str | None) -> float | None:
    """Reads a value as a number in the unit of its category; None if the KMA has none.

    Precipitation comes as text. The lower end of a range ("30.0~50.0mm", "50.0mm 이상", "1mm 미만") counts, so that
    sums are never too high. The table keeps the raw text beside the value.

    >>> read_value("RN1", "30.0~50.0mm"), read_value("RN1", "강수없음"), read_value("T1H", "-998.9")
    (30.0, 0.0, None)

    Raises:
        WeatherValueError: the guide does not describe this text.
    """
    text = (raw or "").strip()
    if category == "RN1" and (raw is None or text in NO_RAIN):
        return 0.0
    if not text or text in {"-", "null"}:
        return None
    number = _read_precipitation(text) if category == "RN1" else _read_number(text)
    if number is None or not math.isfinite(number):
        raise WeatherValueError(
            f"KMA forecast value {category}: found {text[:40]!r}, expected a number as in the guide; "
            "the raw response is kept: add this text to ml_code.etl.forecasts.read_value and clear the task"
        )
    return None if abs(number) >= MISSING_FROM else number


def _read_precipitation(text: str) -> float | None:
    if re.fullmatch(r"1(\.0)?\s*mm\s*미만", text):
        return FEWER_THAN_1_MM
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*(?:mm)?\s*(?:~\s*\d+(?:\.\d+)?\s*mm|이상)?", text)
    return float(match[1]) if match else None


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_stored(storage: Storage, uri: str) -> bool:
    """Whether a complete issue is stored; the caller replaces any other object."""
    try:
        return bool(read_items(storage.read_bytes(uri)))
    except (StorageError, WeatherAnswerError):
        return False


def _save(cursor: Cursor, items: Sequence[ForecastItem]) -> tuple[int, list[TableRow]]:
    """Saves the values; returns the number of changed rows, and all rows of the place afterwards."""
    place = items[0].place
    columns = (
        [item.forecast_at for item in items],
        [item.category for item in items],
        [read_value(item.category, item.raw) for item in items],
        [CATEGORIES[item.category].unit if item.category in CATEGORIES else None for item in items],
        [item.raw for item in items],
    )
    cursor.execute(UPSERT, (place.nx, place.ny, items[0].issued_at, *columns))
    changed_count = cursor.rowcount
    cursor.execute(SELECT_PLACE, (place.nx, place.ny))
    return changed_count, cursor.fetchall()


def _format_csv(rows: Iterable[TableRow]) -> bytes:
    """Writes one line per forecast time; each code has its name beside it, and missing values are empty."""
    lines: dict[datetime, dict[str, str]] = {}
    for forecast_at, code, value, issued_at in rows:
        line = lines.setdefault(forecast_at, {"forecast_at": forecast_at.astimezone(KST).isoformat(), "issued_at": ""})
        line["issued_at"] = max(line["issued_at"], issued_at.astimezone(KST).isoformat())
        if value is not None and (category := CATEGORIES.get(code)):
            line[category.column] = f"{value:g}"
            if category.names:
                line[_name_column(category)] = category.names.get(value, "unknown")
    text = io.StringIO()
    writer = csv.DictWriter(text, list_columns(), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines.values())
    return text.getvalue().encode()


def list_columns() -> list[str]:
    """The ordered columns of the CSV."""
    columns = ["forecast_at"]
    for category in CATEGORIES.values():
        columns += [category.column, _name_column(category)] if category.names else [category.column]
    return [*columns, "issued_at"]


def _name_column(category: Category) -> str:
    return category.column.removesuffix("_code")
