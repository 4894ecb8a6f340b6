"""The prediction log of a replica: a request appends one entry, and a thread writes blocks of rows to segments.

An answer never waits for the log. What waits is bounded; rows beyond it, and those that the disk refuses, are dropped
and counted in `/metrics` and in the next block, so that always: answered = logged + dropped + left out by the sampling.
The predictions of a shadow are no answers, and are counted apart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ml_code.errors import UncollectedError
from ml_code.monitoring.prediction_log.blocks import Head, render_block
from serving.answering.entries import Entry, Part, cut_blocks
from serving.answering.logged import RowMaker
from serving.limits import LOG_BYTES, LOG_ROWS
from serving.registry.names import SHADOW

FLUSH_SECONDS = 0.25
"""What a replica loses at most when it is killed, and the disk is not slow."""

WAKE_ROWS = LOG_ROWS // 4
WAKE_BYTES = LOG_BYTES // 4
"""With so much that waits, the thread does not wait for its time, or two large requests would fill the log."""

WARN_SECONDS = 60.0
"""Time between two warnings; the figures count each row."""

CLOSE_SECONDS = 5.0
"""Longest wait for a disk that is stuck when the replica ends."""

FULL = "full"
CLOSED = "closed"
DISK = "disk"
UNCOLLECTED = "uncollected"
FAILED = "failed"
REASONS = (FULL, CLOSED, DISK, UNCOLLECTED, FAILED)
"""Why rows were dropped: too many wait, the replica ends, the disk refused, nobody collects, an error in the log."""

logger = logging.getLogger("serving")


class Lines(Protocol):
    """Where the blocks go: a `SegmentWriter`."""

    def write(self, lines: bytes) -> None:
        """Appends whole lines, or none."""

    def rotate(self) -> None:
        """Ends a segment in time."""

    def close(self) -> None:
        """Ends the last segment."""


class PredictionLog(Collector):
    """Logs requests; the thread of the requests calls `note`, everything else runs in the log's own thread.

    >>> log = PredictionLog(SegmentWriter(folder, "stable-a1b2c3"), RowMaker(…), sampling=1.0)
    >>> log.start()
    >>> log.note(logged)
    >>> log.close()
    """

    def __init__(
        self, lines: Lines, row_maker: RowMaker, *, sampling: float = 1.0, flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        self._lines = lines
        self._row_maker = row_maker
        self._is_sampled = sampling < 1
        self._kept_ids = int(sampling * 16**8)
        self._flush_seconds = flush_seconds
        self._waiting: deque[Entry] = deque()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        # Each number has one thread that changes it, so none needs a lock. First those of the requests' thread.
        self._noted_rows = self._noted_bytes = self._sampled_out = 0
        self._turned_away = {FULL: 0, CLOSED: 0}
        self._shadow_rows_turned_away = 0
        # Those of the log's own thread.
        self._done_rows = self._done_bytes = self._logged_rows = self._logged_refusals = self._told = 0
        self._logged_shadow_rows = self._lost_shadow_rows = 0
        self._dropped: Counter[str] = Counter()
        self._last_head: Head | None = None
        self._warned_at = -WARN_SECONDS

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Takes one request, or drops and counts it."""
        served, _, request_id, _, _, _, size_bytes, rows, *_ = entry
        answered = 0 if served.variant == SHADOW else len(rows)
        noted_rows, noted_bytes = self._noted_rows + (len(rows) or 1), self._noted_bytes + size_bytes
        waiting_rows, waiting_bytes = noted_rows - self._done_rows, noted_bytes - self._done_bytes
        # The id's last digits are random: they keep or leave whole requests, alike in every replica.
        if self._is_sampled and int(request_id[-8:], 16) >= self._kept_ids:
            self._sampled_out += answered
        elif self._is_closed or waiting_rows > LOG_ROWS or waiting_bytes > LOG_BYTES:
            self._turned_away[CLOSED if self._is_closed else FULL] += answered
            self._shadow_rows_turned_away += len(rows) - answered
        else:
            self._noted_rows, self._noted_bytes = noted_rows, noted_bytes
            self._waiting.append(entry)
            if waiting_rows > WAKE_ROWS or waiting_bytes > WAKE_BYTES:
                self._wake.set()

    def flush(self) -> None:
        """Writes what waits; the log's own thread calls it, or whoever has not started that."""
        requests = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for part in cut_blocks(requests):
            self._log(part)
        self._guard(self._tell, 0)
        self._guard(self._lines.rotate, 0)

    def close(self) -> None:
        """Writes what waits and ends the thread; a disk that is stuck is not waited for without end."""
        self._is_closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """The figures, as Prometheus's text has them."""
        rows = CounterMetricFamily("mlops_prediction_log_rows", "Answered rows in the prediction log")
        rows.add_metric([], self._logged_rows)
        refusals = CounterMetricFamily("mlops_prediction_log_refusals", "Refused requests in the prediction log")
        refusals.add_metric([], self._logged_refusals)
        left_out = CounterMetricFamily("mlops_prediction_log_sampled_out_rows", "Answered rows left out by sampling")
        left_out.add_metric([], self._sampled_out)
        dropped = CounterMetricFamily(
            "mlops_prediction_log_dropped_rows", "Answered rows that the log lost", labels=["reason"]
        )
        for reason in REASONS:
            dropped.add_metric([reason], self._dropped[reason] + self._turned_away.get(reason, 0))
        shadow_rows = CounterMetricFamily("mlops_prediction_log_shadow_rows", "Shadow's rows in the prediction log")
        shadow_rows.add_metric([], self._logged_shadow_rows)
        lost = CounterMetricFamily("mlops_prediction_log_dropped_shadow_rows", "Shadow's rows that the log lost")
        lost.add_metric([], self._lost_shadow_rows + self._shadow_rows_turned_away)
        return iter((rows, refusals, left_out, dropped, shadow_rows, lost))

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            self.flush()
        self.flush()
        self._guard(self._lines.close, 0)

    def _log(self, part: Part) -> None:
        answered = 0 if part.is_refused or part.is_shadow else part.rows
        is_logged = self._guard(lambda: self._write(*self._row_maker.make(part)), answered)
        if part.is_shadow:
            self._logged_shadow_rows += part.rows * is_logged
            self._lost_shadow_rows += part.rows * (not is_logged)
        elif is_logged:
            self._logged_rows += answered
            self._logged_refusals += part.rows - answered
        self._done_rows += part.rows
        self._done_bytes += part.done_bytes

    def _tell(self) -> None:
        """Writes a block without rows, where rows were dropped and none came behind them."""
        if self._last_head is not None and self._count_untold():
            self._write(self._last_head, [])

    def _write(self, head: Head, rows: Sequence[tuple[Any, ...]]) -> None:
        untold = self._count_untold()
        self._lines.write(render_block(head, rows, untold))
        self._told += untold
        self._last_head = head

    def _count_untold(self) -> int:
        """Dropped rows that no block has named yet."""
        return self._dropped.total() + sum(self._turned_away.values()) - self._told

    def _guard(self, step: Callable[[], None], rows: int) -> bool:
        """Whether the step succeeded; otherwise its rows count as dropped."""
        try:
            step()
        except UncollectedError as error:
            self._drop(UNCOLLECTED, rows, error)
        except OSError as error:
            self._drop(DISK, rows, error)
        except Exception as error:  # the edge of the thread: no row may end the log of those behind it
            self._drop(FAILED, rows, error)
        else:
            return True
        return False

    def _drop(self, reason: str, rows: int, error: Exception) -> None:
        self._dropped[reason] += rows
        if time.monotonic() - self._warned_at >= WARN_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning(
                "prediction log: rows are dropped (%s): %s; /metrics counts them, and predictions go on",
                reason,
                error,
                exc_info=error if reason == FAILED else None,
            )
