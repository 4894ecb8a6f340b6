"""The log of a replica: answers never wait for it, and each answered row is logged, dropped or left out, counted."""

from __future__ import annotations

import errno
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_code.errors import UncollectedError
from ml_code.monitoring.prediction_log.blocks import Block
from serving.answering.served import ServedModel
from serving.api import prediction_log
from tests.unit.serving.log_fakes import FakeLines, make_log, make_logged, make_served, read_figures

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
SERVED = make_served()
LOST = ("full", "closed", "disk", "uncollected", "failed")


@pytest.fixture(scope="module")
def served() -> ServedModel:
    return SERVED


def count_rows(blocks: list[Block]) -> int:
    return sum(len(block.rows) for block in blocks)


def test_a_request_becomes_a_row_with_all_that_is_known_of_it(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines, unit_key=b"key")
    logged = make_logged(served, client_id=b"order-1", user=b"kim@example.com")
    log.note(logged)
    log.flush()
    [block] = lines.list_blocks()
    assert (block.head.model, block.head.version, block.head.variant, block.head.traffic) == (
        *("iris", "7", "champion", "live"),
    )
    [row] = block.rows
    assert row.request_id == logged.request_id
    assert (row.row, row.client_request_id, row.milliseconds) == (0, "order-1", 0.4)
    assert (row.features, row.prediction, row.score) == ([5.1, 3.5, 1.4, 0.2], 0, 0.8)
    assert row.time_ms == int(logged.request_id[:12], 16)


def test_a_user_is_a_hash_that_only_the_holder_of_the_key_can_repeat(served: ServedModel) -> None:
    lines = FakeLines()
    for key in (b"key", b"key", b"other", None):
        log = make_log(lines, unit_key=key)
        log.note(make_logged(served, user=b"kim@example.com"))
        log.flush()
    units = [row.unit for block in lines.list_blocks() for row in block.rows]
    assert units[0] == units[1] != units[2]
    assert [len(unit or "") for unit in units] == [32, 32, 32, 0]
    assert b"kim" not in b"".join(lines.content)


def test_rows_of_one_kind_share_a_block_of_at_most_500(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines)
    challenger = make_served("challenger")
    for version in [served] * 700 + [challenger]:
        log.note(make_logged(version))
    for _ in range(300):
        log.note(make_logged(served, [(5.1, 3.5, 1.4, 0.2)] * 3))
    log.note(make_logged(served, [(5.1, 3.5, 1.4, 0.2)] * 9_000))
    log.flush()
    blocks = lines.list_blocks()
    assert max(len(block.rows) for block in blocks) == 500
    assert Counter(block.head.variant for block in blocks) == {"champion": 22, "challenger": 1}
    assert count_rows(blocks) == read_figures(log)["logged"] == 10_601
    found: dict[str, list[int]] = {}
    for row in (row for block in blocks for row in block.rows):
        found.setdefault(row.request_id, []).append(row.row)
    assert all(rows == list(range(len(rows))) for rows in found.values())
    assert Counter(map(len, found.values())) == {1: 701, 3: 300, 9_000: 1}


def test_a_refused_request_is_a_row_without_an_answer_and_no_answered_row(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines)
    log.note(make_logged(served, ()))
    log.flush()
    [block] = lines.list_blocks()
    assert block.head.variant == "refused"
    assert [(row.row, row.features, row.prediction, row.score) for row in block.rows] == [(0, None, None, None)]
    assert read_figures(log) == {"logged": 0, "refusals": 1, "sampled_out": 0, **dict.fromkeys(LOST, 0)}


def test_sampling_keeps_whole_requests_and_every_replica_the_same(served: ServedModel) -> None:
    requests = [make_logged(served, [(5.1, 3.5, 1.4, 0.2)] * 3) for _ in range(400)]
    kept = []
    for _ in range(2):
        lines = FakeLines()
        log = make_log(lines, sampling=0.25)
        for logged in requests:
            log.note(logged)
        log.flush()
        found = Counter(row.request_id for block in lines.list_blocks() for row in block.rows)
        assert set(found.values()) == {3}
        assert {block.head.sampling for block in lines.list_blocks()} == {0.25}
        assert read_figures(log)["sampled_out"] == 1200 - 3 * len(found)
        kept.append(set(found))
    assert kept[0] == kept[1]
    assert 60 <= len(kept[0]) <= 140


@pytest.mark.parametrize(("rows", "size_bytes", "taken"), [(10_000, 1, 2), (1, 5_000_000, 3)], ids=["rows", "bytes"])
def test_what_waits_is_bounded_and_the_next_block_names_what_was_dropped(
    served: ServedModel, rows: int, size_bytes: int, taken: int
) -> None:
    lines = FakeLines()
    log = make_log(lines)
    for _ in range(5):
        log.note(make_logged(served, [(5.1, 3.5, 1.4, 0.2)] * rows, size_bytes=size_bytes))
    log.flush()
    assert read_figures(log)["logged"] == taken * rows
    assert read_figures(log)["full"] == (5 - taken) * rows
    log.note(make_logged(served, size_bytes=size_bytes))
    log.flush()
    assert read_figures(log)["logged"] == taken * rows + 1
    assert sum(block.dropped for block in lines.list_blocks()) == (5 - taken) * rows


@pytest.mark.parametrize(
    ("error", "reason"),
    [(NO_SPACE, "disk"), (UncollectedError("nobody collects"), "uncollected"), (ValueError("a bug"), "failed")],
    ids=["disk", "uncollected", "failed"],
)
def test_rows_that_cannot_be_written_are_counted_and_the_log_recovers(
    served: ServedModel, error: Exception, reason: str
) -> None:
    lines = FakeLines(error=error)
    log = make_log(lines)
    for _ in range(3):
        log.note(make_logged(served))
        log.flush()
    assert read_figures(log)[reason] == 3
    lines.error = None
    log.note(make_logged(served))
    log.flush()
    assert [(block.dropped, len(block.rows)) for block in lines.list_blocks()] == [(3, 1)]


def test_dropped_rows_are_named_also_where_no_row_comes_behind_them(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines)
    log.note(make_logged(served))
    log.flush()
    lines.error = NO_SPACE
    log.note(make_logged(served))
    log.flush()
    lines.error = None
    log.flush()
    log.flush()
    assert [(block.dropped, len(block.rows)) for block in lines.list_blocks()] == [(0, 1), (1, 0)]


def test_a_row_that_cannot_be_rendered_does_not_end_the_log(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines)
    log.note(make_logged(served, [(object(),)]))  # type: ignore[arg-type]
    log.flush()
    log.note(make_logged(served))
    log.flush()
    assert read_figures(log)["failed"] == 1
    assert count_rows(lines.list_blocks()) == 1


def test_a_full_disk_warns_once_a_minute(
    served: ServedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "serving")
    log = make_log(FakeLines(error=NO_SPACE))
    for _ in range(5):
        log.note(make_logged(served))
        log.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "prediction log: rows are dropped (disk): [Errno 28] No space left on device; /metrics counts them, and "
        "predictions go on"
    ]
    monkeypatch.setattr(prediction_log, "WARN_SECONDS", 0.0)
    log.note(make_logged(served))
    log.flush()
    assert len(caplog.records) == 2


def test_a_request_does_not_wait_for_a_disk_that_is_stuck(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "CLOSE_SECONDS", 0.1)
    lines = FakeLines()
    lines.is_free.clear()
    log = make_log(lines)
    log.start()
    request = make_logged(served)
    for _ in range(30_000):
        log.note(request)
    log.close()
    figures = read_figures(log)
    assert figures["full"] >= 10_000
    lines.is_free.set()
    log._thread.join()
    figures = read_figures(log)
    assert count_rows(lines.list_blocks()) == figures["logged"]
    assert figures["logged"] + figures["full"] == 30_000
    assert sum(block.dropped for block in lines.list_blocks()) == figures["full"]


def test_the_thread_writes_and_the_end_writes_the_rest(served: ServedModel) -> None:
    lines = FakeLines()
    log = make_log(lines)
    log.start()
    for _ in range(50):
        log.note(make_logged(served))
    log.close()
    assert count_rows(lines.list_blocks()) == 50
    assert lines.is_closed
    assert lines.rotations
    log.note(make_logged(served))
    assert read_figures(log)["closed"] == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("note"), st.sampled_from([0, 1, 2, 700, 9_000])),
            st.tuples(st.just("flush"), st.just(0)),
            st.tuples(st.just("break"), st.integers(0, 3)),
        ),
        max_size=25,
    ),
    st.sampled_from([1.0, 0.5]),
)
@settings(deadline=None, max_examples=60)
def test_answered_is_logged_plus_dropped_plus_left_out(steps: list[tuple[str, int]], sampling: float) -> None:
    lines = FakeLines()
    log = make_log(lines, sampling=sampling)
    errors = [None, NO_SPACE, UncollectedError("nobody collects"), ValueError("a bug")]
    answered = 0
    for step, number in steps:
        if step == "note":
            log.note(make_logged(SERVED, [(5.1, 3.5, 1.4, 0.2)] * number))
            answered += number
        elif step == "flush":
            log.flush()
        else:
            lines.error = errors[number]
    lines.error = None
    log.note(make_logged(SERVED, ()))  # a block, so that the last rows that were dropped are named
    log.flush()
    figures = read_figures(log)
    dropped = sum(figures[reason] for reason in LOST)
    assert figures["logged"] + figures["sampled_out"] + dropped == answered
    blocks = lines.list_blocks()
    assert sum(len(block.rows) for block in blocks if block.head.variant != "refused") == figures["logged"]
    if blocks:
        assert sum(block.dropped for block in blocks) == dropped
