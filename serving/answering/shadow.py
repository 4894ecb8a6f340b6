"""Has a shadow predict the rows that a champion has answered; nobody gets its answers, which go to the prediction log.

A request is noted when its answer is computed, and predicted later in a thread of its own, so that no client waits for
a shadow. What waits is bounded by rows and bytes. What does not fit, what fails and what came too late is counted by
reason, in `/metrics` and in `/readyz`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.answering.entries import SIZE_BYTES, Entry, count_rows
from serving.answering.served import ServedModel
from serving.figures import FAILED, FULL, LIVE, MISFIT, SHADOW_REASONS, WITHDRAWN
from serving.limits import SHADOW_BYTES, SHADOW_ROWS

GATHER_SECONDS = 0.02
"""Pause before the thread works, in which the answers of the requests that woke it are sent."""

TURN_SECONDS = 0.25
"""Predictions are logged after this time, however many still wait."""

CLOSE_SECONDS = 2.0
"""Longest wait for a shadow that computes when the replica ends."""

LABELS = ("model", "version")

logger = logging.getLogger("serving")

type PickShadow = Callable[[str], ServedModel | None]
"""The shadow of a model at this moment."""


@dataclass(slots=True)
class Counts:
    """What became of the rows that were noted for one version; each number has one thread that changes it."""

    version: str
    predicted: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHADOW_REASONS, 0))


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answered request whose rows a shadow shall predict."""

    entry: Entry
    shadow: ServedModel
    counts: Counts


class Shadows(Collector):
    """The shadows of one replica; the thread of the requests calls `note`, the rest runs in a thread of its own.

    >>> shadows = Shadows(follower.pick_shadow, log.note)
    >>> shadows.start(asyncio.get_running_loop())
    >>> shadows.note(entry)
    >>> shadows.close()
    """

    def __init__(self, pick: PickShadow, keep: Callable[[Entry], None]) -> None:
        """Starts nothing yet; `keep` takes each prediction, in the thread of the requests."""
        self._pick = pick
        self._keep = keep
        self._waiting: deque[Waiting] = deque()
        self._counts: dict[str, Counts] = {}
        self._wake = threading.Event()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        # The first two are of the requests' thread, the last two of the shadow's own: none needs a lock.
        self._noted_rows = self._noted_bytes = 0
        self._done_rows = self._done_bytes = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread; predictions are handed over in the loop."""
        self._loop = loop
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Takes a request that a champion has answered, if its model has a shadow and there is room for its rows."""
        champion, traffic, *_ = entry
        shadow = self._pick(champion.identity.name)
        if shadow is None or traffic != LIVE:
            return
        counts, rows = self._find_counts(shadow), count_rows(entry)
        noted_rows, noted_bytes = self._noted_rows + rows, self._noted_bytes + entry[SIZE_BYTES]
        if not shadow.reads_like(champion):
            counts.dropped[MISFIT] += rows
        elif noted_rows - self._done_rows > SHADOW_ROWS or noted_bytes - self._done_bytes > SHADOW_BYTES:
            counts.dropped[FULL] += rows
        else:
            self._noted_rows, self._noted_bytes = noted_rows, noted_bytes
            self._waiting.append(Waiting(entry, shadow, counts))
            self._wake.set()

    def predict_waiting(self) -> list[Entry]:
        """Predicts what waits, for a turn; the shadow's own thread calls it, or whoever has not started that."""
        until = time.monotonic() + TURN_SECONDS
        predicted = []
        while self._waiting and not self._is_closed and time.monotonic() < until:
            waiting = self._waiting.popleft()
            if (entry := self._predict(waiting)) is not None:
                predicted.append(entry)
            self._done_rows += count_rows(waiting.entry)
            self._done_bytes += waiting.entry[SIZE_BYTES]
        return predicted

    def close(self) -> None:
        """Ends the thread; what still waits is not predicted."""
        self._is_closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def list_counts(self) -> Mapping[str, Mapping[str, Any]]:
        """The counts by model, as `/readyz` shows them."""
        return {
            name: {"version": counts.version, "rows": counts.predicted, "dropped": dict(counts.dropped)}
            for name, counts in self._counts.items()
        }

    def collect(self) -> Iterator[Metric]:
        """The figures, as Prometheus's text has them."""
        rows = CounterMetricFamily("mlops_shadow_rows", "Answered rows that a shadow predicted too", labels=LABELS)
        dropped = CounterMetricFamily(
            "mlops_shadow_dropped_rows", "Answered rows that a shadow did not predict", labels=[*LABELS, "reason"]
        )
        for name, counts in dict(self._counts).items():
            rows.add_metric([name, counts.version], counts.predicted)
            for reason, count in counts.dropped.items():
                dropped.add_metric([name, counts.version, reason], count)
        return iter((rows, dropped))

    def _find_counts(self, shadow: ServedModel) -> Counts:
        name, version = shadow.identity.name, shadow.identity.version
        counts = self._counts.get(name)
        if counts is None or counts.version != version:
            counts = self._counts[name] = Counts(version)
        return counts

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            time.sleep(GATHER_SECONDS)
            predicted = self.predict_waiting()
            if predicted and self._loop is not None:
                with suppress(RuntimeError):  # the loop has ended, and with it the log
                    self._loop.call_soon_threadsafe(self._hand_over, predicted)
            if self._waiting:
                self._wake.set()

    def _hand_over(self, predicted: list[Entry]) -> None:
        for entry in predicted:
            self._keep(entry)

    def _predict(self, waiting: Waiting) -> Entry | None:
        """The prediction as an entry of the log, under the id of the answered request; None without one."""
        shadow, counts = waiting.shadow, waiting.counts
        _, traffic, request_id, client_id, user, _, size_bytes, rows, _, traceparent, text = waiting.entry
        if self._pick(shadow.identity.name) is not shadow:
            counts.dropped[WITHDRAWN] += len(rows)
            return None
        started = time.perf_counter()
        try:
            prediction = shadow.model.predict_rows(rows)
        except Exception as error:  # onnxruntime's exceptions share no root; no shadow may end the thread of all
            if not counts.dropped[FAILED]:
                logger.warning("%s: the shadow, version %s, fails: %s", shadow.identity.name, counts.version, error)
            counts.dropped[FAILED] += len(rows)
            return None
        counts.predicted += len(rows)
        seconds = time.perf_counter() - started
        return shadow, traffic, request_id, client_id, user, seconds, size_bytes, rows, prediction, traceparent, text
