"""The original pages of the KMA's forecast, and their values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ml_code.etl.weather_errors import WeatherAnswerError, WeatherRequestError

KST = timezone(timedelta(hours=9), "KST")
"""Korea's zone, which the API uses; without summer time, so no database of zones is needed."""

CATEGORY = re.compile(r"[A-Z0-9_]{1,20}")
"""The form of the guide's categories; Postgres refuses texts with a NUL or half a character."""

MAX_ROWS = 10_000
"""Largest plausible count: an issue has about 60 rows, and a wrong count would cause endless paging."""


LONGEST_QUOTE = 50
"""Most characters of a message with values of the service, which may answer anything."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of the KMA's grid of 5 km; Seoul's city hall is nx=60, ny=127.

    Raises:
        WeatherRequestError: the cell is outside the grid.
    """

    nx: int
    ny: int

    def __post_init__(self) -> None:
        if not (1 <= self.nx <= 149 and 1 <= self.ny <= 253):
            raise WeatherRequestError(
                f"place nx={self.nx}, ny={self.ny}: expected nx of 1-149 and ny of 1-253; the guide's table names them"
            )

    def __str__(self) -> str:
        return f"nx{self.nx}_ny{self.ny}"


@dataclass(frozen=True, slots=True)
class ForecastItem:
    """One original value of the API; `raw` is None for JSON's null."""

    place: Place
    issued_at: datetime
    forecast_at: datetime
    category: str
    raw: str | None


def count_rows(subject: str, text: str) -> tuple[int, int]:
    """Counts the rows of this page, and reads the count of all pages.

    Raises:
        WeatherAnswerError: the page is not as in the guide, or its count is implausible.
    """
    try:
        body = json.loads(text)["response"]["body"]
        count, total = len(_rows_of(body)), int(body["totalCount"])
    except KeyError as error:
        raise answer_error(subject, f"no field {error}", "the fields of the guide") from None
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise answer_error(subject, "no such JSON", "response.body with items and totalCount") from None
    if not 0 <= total <= MAX_ROWS:
        raise answer_error(subject, f"the totalCount {_shorten(total)}", f"at most {MAX_ROWS}")
    return count, total


def read_items(document: bytes) -> list[ForecastItem]:
    """Reads the values of a document from `fetch_forecast`.

    Raises:
        WeatherAnswerError: a page is not as in the guide, or the number of rows is wrong.
    """
    subject = "KMA forecast document"
    try:
        pages = json.loads(document)
        bodies = [page["response"]["body"] for page in pages]
        rows = [row for body in bodies for row in _rows_of(body)]
        totals = {int(body["totalCount"]) for body in bodies}
        items = [_read_item(row) for row in rows]
    except KeyError as error:
        raise answer_error(subject, f"no field {error}", "the fields of the guide") from None
    except (TypeError, ValueError, OverflowError, RecursionError, WeatherRequestError) as error:
        raise answer_error(subject, f"{type(error).__name__}: {_shorten(error)}", "pages as in the guide") from None
    if totals != {len(items)}:
        raise answer_error(subject, f"{len(items)} rows", f"the totalCount {_shorten(sorted(totals))}")
    if len({(item.forecast_at, item.category) for item in items}) != len(items):
        raise answer_error(subject, "a value twice", "one for each time and category")
    return items


def answer_error(subject: str, found: str, expected: str) -> WeatherAnswerError:
    """Makes the error for a response that is not as in the guide."""
    return WeatherAnswerError(f"{subject}: found {found}, expected {expected}; try again later")


def _shorten(found: object) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in str(found))
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def _rows_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # The portal turns an empty list into an empty text.
    rows = body["items"]["item"] if body["items"] != "" else []
    if not isinstance(rows, list):
        raise TypeError("items.item is not a list")
    return rows


def _read_item(row: Mapping[str, Any]) -> ForecastItem:
    value, category = row["fcstValue"], str(row["category"])
    if not CATEGORY.fullmatch(category):
        raise ValueError(f"the category {category[:40]!a}")
    return ForecastItem(
        place=Place(int(row["nx"]), int(row["ny"])),
        issued_at=_read_time(row["baseDate"], row["baseTime"]),
        forecast_at=_read_time(row["fcstDate"], row["fcstTime"]),
        category=category,
        raw=None if value is None else str(value),
    )


def _read_time(date: object, time: object) -> datetime:
    return datetime.strptime(f"{date} {time:0>4}", "%Y%m%d %H%M").replace(tzinfo=KST)
