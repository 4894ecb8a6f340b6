"""What a date looks like, as text and as a number."""

from __future__ import annotations

import re

import pandas as pd

from ml_code.draft import names

DATE_ADVICE = "make numbers of it, such as a weekday or an age"

SERIAL_DAYS = (20_000, 70_000)
"""Days since 1899-12-30, as spreadsheets number them: from 1954 to 2091."""

LEAST_MONTHS = 6
"""Different numbers such as 202601 that tell months from quantities."""

_ZONE = r"(?:Z| ?[A-Z]{3,4}| ?[+-][0-9]{2}:?[0-9]{2})"
_CLOCK = r"[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
_KOREAN_CLOCK = r"[0-2]?[0-9]시(?: ?[0-5]?[0-9]분)?(?: ?[0-5]?[0-9]초)?"
_TIME = rf"(?:(?:오전|오후) ?)?(?:{_CLOCK}(?: ?[AaPp]\.?[Mm]\.?)?{_ZONE}?|{_KOREAN_CLOCK})"
_YEAR_FIRST = r"[12][0-9]{3}(?:[-/.]|년) ?[01]?[0-9](?:(?:[-/.]|월) ?[0-3]?[0-9][일.]?|월)?"
_YEAR_LAST = r"[0-3]?[0-9][-/.] ?[0-3]?[0-9][-/.] ?(?:[12][0-9])?[0-9]{2}"
_MONTH_3 = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_MONTH = (
    r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|fév|avr|juin|juil|aoû|déc|ene|abr|ago|dic)"
    r"\w{0,6}"
)
_DAY_NUMBER = r"[0-3]?[0-9](?:st|nd|rd|th|\.)?"
_MONTH_NAME = rf"(?:{_DAY_NUMBER}[-/ ])?{_MONTH}[-/ ,.]+(?:{_DAY_NUMBER},? )?(?:[12][0-9])?[0-9]{{2}}"
_WEEKDAY = r"(?i:mon|tue|wed|thu|fri|sat|sun)\w{0,6},? +"
_DAY = rf"(?:{_WEEKDAY})?(?:{_YEAR_FIRST}|{_YEAR_LAST}|{_MONTH_NAME})(?: ?\([^()]{{1,9}}\))?"
_STATISTICAL = rf"(?:[0-3]?[0-9]{_MONTH_3}(?:[12][0-9])?[0-9]{{2}}|{_MONTH_3}[12][0-9]{{3}})"
_PART = (
    r"[12][0-9]{3}(?:[-./ ]?[QqWwHh][0-9]{1,2}|(?:년|\.)? ?(?:[1-4](?:/4)?분기|[1-4]/4|[상하]반기))"
    r"|[Qq][1-4][-./ '](?:[12][0-9])?[0-9]{2}"
)
DATE = re.compile(rf"(?:{_DAY}|{_STATISTICAL})(?:[T ,:]+{_TIME})?|{_TIME}|{_PART}")
"""A date, a month, a quarter or a time of day, as people and SAS write them."""


def are_dates(name: str, numbers: pd.Series) -> bool:
    """Whether whole numbers are dates: 20260131, 2026013123 to the hour, 202601, or the days of a spreadsheet.

    Digits behind the day are a serial number where the name is an identifier's, as in the order 202601310001.
    """
    low, high = numbers.min(), numbers.max()
    if names.is_date(name) and SERIAL_DAYS[0] <= low and high <= SERIAL_DAYS[1]:
        return True
    units = (1,) if names.mentions_identifier(name) else (1, 100, 10_000, 1_000_000)
    for unit in units:  # the day, the hour, the minute, the second
        if low // unit >= 18000101 and high // unit <= 21001231:
            months, days = numbers // unit // 100 % 100, numbers // unit % 100
            clock = [numbers // part % 100 for part in (10_000, 100, 1) if part < unit]  # hours first
            is_clock = all(part.le(59 if place else 24).all() for place, part in enumerate(clock))
            return is_clock and bool((months.between(1, 12) & days.between(1, 31)).all())
    is_month = low >= 190001 and high <= 210012 and numbers.nunique() >= LEAST_MONTHS
    return bool(is_month and (numbers % 100).between(1, 12).all())
