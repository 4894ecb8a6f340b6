"""A model over some days: its log in a folder, its reference in a fake MLflow, its windows in a fake warehouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ml_code.errors import CatalogError
from ml_code.monitoring.drift import watching, windows
from ml_code.monitoring.drift.alarm import find_alarm, judge_history
from ml_code.monitoring.drift.history import JudgedWindow, read_windows
from ml_code.monitoring.drift.watching import watch_model
from ml_code.monitoring.drift.windows import Window, list_closed, read_window
from tests.log_rows import IRIS, make_rows, write_log
from tests.unit.ml_code.monitoring.drift.watched import DAY, NAMES, Watched


@pytest.fixture
def iris(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_days_like_the_training_are_clean_and_say_nothing(iris: Watched) -> None:
    for _ in range(3):
        iris.live(300)
        found = iris.watch()
        assert (found.label, found.alarm, found.notices) == ("iris 3: clean", None, [])
    assert iris.list_verdicts() == ["clean"] * 3


def test_the_second_drifting_day_alarms_and_names_the_feature(iris: Watched) -> None:
    iris.live(300)
    iris.watch()
    iris.live(300, shift=0.6)
    assert (iris.watch().alarm, iris.list_verdicts()) == (None, ["clean", "drift"])
    iris.live(300, shift=0.6)
    found = iris.watch()
    assert found.alarm
    assert found.alarm.drifted == (NAMES[0],)
    assert [window.start for window in found.alarm.windows] == [DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert NAMES[0] in found.notices[0]


def test_each_window_is_judged_once_and_its_alarm_is_told_once(iris: Watched) -> None:
    for _ in range(2):
        iris.live(300, shift=0.6)
    assert iris.watch().alarm
    again = iris.watch()
    assert (again.label, again.alarm, again.windows) == ("iris 3: no closed window", None, [])


def test_a_retry_tells_of_the_alarm_that_its_interrupted_try_found(iris: Watched) -> None:
    for _ in range(2):
        iris.live(300, shift=0.6)
    iris.watch()
    assert watch_model(iris.workspace, "iris", is_retry=True).alarm


def test_a_window_that_the_log_does_not_hold_completely_waits(iris: Watched) -> None:
    iris.live(300, shift=0.6)
    iris.warehouse.began_at = DAY + timedelta(days=1, seconds=89)
    assert [window.start for window in iris.watch().windows] == [DAY - timedelta(days=1)]
    iris.warehouse.began_at = DAY + timedelta(days=1, seconds=90)
    assert [window.start for window in iris.watch().windows] == [DAY]


def test_nothing_alarms_while_the_newest_window_has_faults(iris: Watched) -> None:
    for _ in range(2):
        iris.live(300, shift=0.6)
    iris.live(300, shift=500)
    found = iris.watch()
    assert iris.list_verdicts() == ["drift", "drift", "quality"]
    assert found.alarm is None
    assert "outside of the catalog's range" in found.notices[0]


def test_a_quiet_day_is_a_window_without_a_verdict_and_without_a_page(iris: Watched) -> None:
    iris.live(300)
    iris.watch()
    iris.pass_day()
    assert iris.watch().label == "iris 3: no verdict"
    [newest, _] = read_windows(iris.workspace, "iris", "3")
    assert (newest.rows, newest.page_uri) == (0, None)


def test_days_before_the_first_row_of_a_version_are_no_windows_of_it(iris: Watched) -> None:
    iris.days = 5
    iris.live(300)
    assert [window.start for window in iris.watch().windows] == [DAY + timedelta(days=5)]


def test_rows_of_other_versions_replays_and_shadows_do_not_count(iris: Watched) -> None:
    for number, changes in enumerate(({"version": "2"}, {"traffic": "replay"}, {"variant": "shadow"})):
        cells = iris.draw(200, shift=2).tolist()
        rows = make_rows(cells, iris.answer(200), start=DAY + timedelta(hours=1), first=1000 * number)
        write_log(iris.workspace, replace(IRIS, **changes), rows, name=f"20261121T0001{number:02}.000000Z-0")  # type: ignore[arg-type]
    iris.live(300)
    iris.watch()
    [found] = read_windows(iris.workspace, "iris", "3")
    assert (found.verdict, found.rows) == ("clean", 300)


def test_a_promoted_version_begins_with_windows_of_its_own(iris: Watched) -> None:
    for _ in range(2):
        iris.live(300, shift=0.6)
    assert iris.watch().alarm
    iris.tracker.champion = "4"
    assert find_alarm(iris.workspace, "iris") is None


def test_a_version_without_a_reference_gets_no_verdict_and_the_reason(iris: Watched) -> None:
    iris.tracker.reference = None
    iris.live(300)
    assert iris.watch().label == "iris 3: no verdict"
    assert read_windows(iris.workspace, "iris", "3")[0].figures["notes"] == ["the version has no reference"]


def test_a_spoilt_reference_gets_no_verdict(iris: Watched) -> None:
    iris.tracker.reference = b"spoilt"
    iris.live(300)
    assert iris.watch().label == "iris 3: no verdict"


def test_a_stack_without_any_log_has_nothing_to_judge(iris: Watched) -> None:
    assert iris.watch().label == "iris: no collected log"
    assert watch_model(iris.workspace, "titanic").label == "titanic: no champion"
    assert watching.list_watched(iris.workspace) == ["iris"]


def test_a_model_outside_of_the_catalog_is_refused(iris: Watched) -> None:
    with pytest.raises(CatalogError, match="other"):
        watch_model(iris.workspace, "other")


def test_the_page_lies_in_the_bucket_and_beside_the_version(iris: Watched) -> None:
    iris.live(300)
    iris.watch()
    [found] = read_windows(iris.workspace, "iris", "3")
    assert found.page_uri is not None
    assert iris.tracker.pages == {"drift/20261120T000000Z.html": Path(found.page_uri).read_bytes()}


def test_a_column_that_left_the_log_during_the_window_is_not_judged(iris: Watched) -> None:
    iris.live(300)
    rows = make_rows(iris.draw(200)[:, 1:].tolist(), iris.answer(200), start=DAY + timedelta(hours=9), first=5000)
    write_log(iris.workspace, replace(IRIS, features=NAMES[1:], kinds=IRIS.kinds[1:]), rows)
    iris.watch()
    [found] = read_windows(iris.workspace, "iris", "3")
    assert (found.rows, found.figures["notes"]) == (500, [f"{NAMES[0]} is not in the log"])


def test_refused_requests_are_counted(iris: Watched) -> None:
    refused = [row._replace(features=None, prediction=None) for row in make_rows([[0] * 4] * 60, [0] * 60, start=DAY)]
    write_log(iris.workspace, replace(IRIS, variant="refused"), refused)
    iris.live(300)
    assert "60 of 360 requests were refused" in iris.watch().notices[0]


def test_of_a_very_busy_window_whole_requests_are_drawn(iris: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_ROWS", 200)
    iris.live(300)
    found = read_window(iris.workspace, "iris", "3", Window(DAY, DAY + timedelta(days=1)))
    assert found.rows.num_rows <= 200
    assert found.requests == 300


def test_a_long_absence_judges_the_newest_windows() -> None:
    found = list_closed(24, DAY - timedelta(days=100), DAY + timedelta(hours=5))
    assert (len(found), found[-1].end) == (windows.MOST_WINDOWS, DAY)


def test_windows_of_another_length_begin_behind_the_last_one() -> None:
    found = list_closed(1, DAY + timedelta(minutes=30), DAY + timedelta(hours=3))
    assert [(window.start.hour, window.end.hour) for window in found] == [(1, 2), (2, 3)]


def remember(*verdicts: str) -> list[JudgedWindow]:
    """Windows with these verdicts, the oldest first."""
    day = timedelta(days=1)
    found = [
        JudgedWindow(Window(DAY + number * day, DAY + (number + 1) * day), verdict, 300, None, {"drifted": ["a"]}, None)  # type: ignore[arg-type]
        for number, verdict in enumerate(verdicts)
    ]
    return found[::-1]


@pytest.mark.parametrize(
    ("verdicts", "is_alarm"),
    [
        (["drift"], False),
        (["drift", "drift"], True),
        (["drift", "clean", "clean", "clean", "drift"], True),
        (["drift", "clean", "clean", "clean", "clean", "drift"], False),
        (["drift", "drift", "clean"], False),
        (["drift", "drift", "quality"], False),
        (["drift", "drift", "no verdict"], False),
        (["drift", "quality", "drift"], True),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_two_of_the_last_five_windows_and_the_newest_alarm(verdicts: list[str], is_alarm: bool) -> None:
    assert (judge_history("iris", "3", remember(*verdicts)) is not None) == is_alarm


@pytest.mark.parametrize(
    ("verdicts", "first"),
    [
        (["clean", "drift", "drift"], 1),
        (["drift"] * 9, 0),
        (["drift", "clean", "clean", "clean", "drift", "drift"], 0),
        (["drift", "clean", "clean", "clean", "clean", "drift", "drift"], 5),
        (["drift", "drift", "clean", "clean", "clean", "clean", "drift", "clean", "drift"], 6),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_a_drift_began_where_an_alarm_without_a_break_began(verdicts: list[str], first: int) -> None:
    """A drift with few labels a day goes on for longer than five windows before a model can learn it."""
    newest_first = remember(*verdicts)
    alarm = judge_history("iris", "3", newest_first)
    assert alarm is not None
    assert alarm.began == newest_first[-1 - first].window.start
    assert len(alarm.windows) <= 5
