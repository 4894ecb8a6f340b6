from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from ml_code.monitoring.quality.coverage import Arrivals, find_falls
from ml_code.monitoring.quality.windows import Window, list_windows

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = NOON - 100 * DAY


def make_arrivals(shares: list[float], *, rows: int = 1000, delay: timedelta = timedelta(hours=1)) -> list[Arrivals]:
    """Days whose labels all come with one delay after their end."""
    found = []
    for number, share in enumerate(shares):
        window = Window(NOON + number * DAY, NOON + (number + 1) * DAY)
        received = (window.end + delay).timestamp() * 1000
        found.append(Arrivals(window, rows, np.full(int(share * rows), received, dtype=np.int64)))
    return found


def at(arrivals: list[Arrivals], later: timedelta) -> float:
    return (arrivals[-1].window.end + later).timestamp() * 1000


def test_a_day_begins_at_midnight_in_utc_and_is_closed_when_the_log_is_complete() -> None:
    windows = list_windows([(NOON, NOON + 2 * DAY)], 24, earliest=LONG_AGO, until=NOON + 2 * DAY)
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    assert windows == [Window(midnight, midnight + DAY), Window(midnight + DAY, midnight + 2 * DAY)]


def test_a_window_without_answers_is_none() -> None:
    spans = [(NOON, NOON), (NOON + 5 * DAY, NOON + 5 * DAY)]
    assert len(list_windows(spans, 24, earliest=LONG_AGO, until=NOON + 9 * DAY)) == 2


def test_a_window_that_ends_at_the_horizon_is_left_out() -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    windows = list_windows([(NOON, NOON + DAY)], 24, earliest=midnight, until=NOON + 9 * DAY)
    assert [window.start for window in windows] == [midnight]


def test_windows_may_be_as_short_as_a_minute() -> None:
    windows = list_windows([(NOON, NOON + timedelta(minutes=9))], 0.02, earliest=LONG_AGO, until=NOON + DAY)
    assert {window.end - window.start for window in windows} == {timedelta(seconds=72)}
    assert windows[0].start <= NOON < windows[0].end
    assert len(windows) in {8, 9}


def test_a_day_with_a_third_of_the_usual_labels_is_told() -> None:
    arrivals = make_arrivals([0.6, 0.6, 0.6, 0.2])
    falls = find_falls(arrivals, at(arrivals, timedelta(hours=2)))
    assert [(fall.window, fall.coverage, fall.usual) for fall in falls] == [(arrivals[-1].window, 0.2, 0.6)]


def test_labels_that_are_late_on_every_day_are_no_fall() -> None:
    arrivals = make_arrivals([0.6, 0.6, 0.6, 0.6], delay=timedelta(days=2))
    assert find_falls(arrivals, at(arrivals, timedelta(hours=2))) == []


def test_late_labels_that_stay_away_are_told_when_they_are_due() -> None:
    arrivals = make_arrivals([0.6, 0.6, 0.6, 0.0], delay=timedelta(days=2))
    assert len(find_falls(arrivals, at(arrivals, timedelta(days=2, hours=2)))) == 1


def test_three_earlier_days_and_fifty_rows_are_needed() -> None:
    few = make_arrivals([0.6, 0.6, 0.0])
    small = make_arrivals([0.6, 0.6, 0.6, 0.0], rows=49)
    assert find_falls(few, at(few, timedelta(hours=2))) == []
    assert find_falls(small, at(small, timedelta(hours=2))) == []


def test_a_small_fall_may_be_chance() -> None:
    arrivals = make_arrivals([0.2, 0.2, 0.2, 0.08], rows=50)
    assert find_falls(arrivals, at(arrivals, timedelta(hours=2))) == []
