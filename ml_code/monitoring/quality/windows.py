"""Windows of prediction time: each has the same length, and they begin at multiples of it since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The time from `start` up to, and without, `end`."""

    start: datetime
    end: datetime


def list_windows(
    spans: Iterable[tuple[datetime, datetime]], hours: float, *, earliest: datetime, until: datetime
) -> list[Window]:
    """The windows that hold answers and are closed, in order.

    Args:
        spans: times of the first and the last row of each part of the log.
        hours: length of a window.
        earliest: windows that end at or before it are left out.
        until: the log is complete up to this time; windows that end after it are left out.
    """
    length = timedelta(hours=hours)
    numbers: set[int] = set()
    for first, last in spans:
        lowest = max((first - EPOCH) // length, (earliest - EPOCH) // length)
        highest = min((last - EPOCH) // length, (until - EPOCH) // length)
        numbers.update(range(lowest, highest + 1))
    windows = [Window(EPOCH + number * length, EPOCH + (number + 1) * length) for number in sorted(numbers)]
    return [window for window in windows if earliest < window.end <= until]
