"""The load of the replicas, from two readings of their `/metrics`.

A replica computes most requests in one thread, so its gauge of requests in progress is nearly always 0 or 1 at the
moment of a reading. The seconds that all requests took, over the seconds between two readings, are their mean number.
Reading a request and writing its answer take time as well, which the processor's seconds have. The larger one counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlops.errors import ScalingError
from mlops.scaling.decision import Room

SAMPLE = re.compile(
    r"^(bentoml_service_request_duration_seconds_sum|process_cpu_seconds_total|process_resident_memory_bytes)"
    r"(?:\{[^\n]*\})? (\S+)$",
    re.MULTILINE,
)
REPLICA_MARK = "== "
"""Begins the part of a replica, before its address."""

MOST = 1e15
"""Seconds or bytes that no replica reaches; neither NaN nor an infinite number is below it."""

LEAST_MB = 100.0
"""Memory of a replica where none tells more."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one replica has counted: seconds of requests, seconds of the processor, and its memory."""

    request_seconds: float
    cpu_seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The replicas at a moment, by address, and the machine that they run on."""

    at: float
    replicas: Mapping[str, Counts]
    cores: int
    free_mb: float

    @property
    def room(self) -> Room:
        """The machine's room for more of them."""
        largest = max([LEAST_MB, *(counts.memory_mb for counts in self.replicas.values())])
        return Room(self.cores, self.free_mb, largest)


def read_text(text: str, at: float) -> Reading:
    """Reads what the gateway's container printed: cores, free memory, then each replica's metrics.

    Raises:
        ScalingError: it is something else.
    """
    head, *parts = text.split(f"\n{REPLICA_MARK}")
    numbers = re.fullmatch(r"(\d+)\nMemAvailable: *(\d+) kB\s*", head)
    if numbers is None:
        raise ScalingError(
            f"gateway: expected the cores and the free memory of its machine, found {head[:200]!r}; "
            "`docker compose logs nginx` may say why"
        )
    replicas = {}
    for part in parts:
        address, _, metrics = part.partition("\n")
        if counts := _read_counts(metrics):
            replicas[address] = counts
    return Reading(at, replicas, int(numbers[1]), int(numbers[2]) / 1024)


def measure_load(before: Reading, after: Reading) -> float | None:
    """The sum of the loads of the replicas in both readings; None without one."""
    seconds = after.at - before.at
    loads = []
    for address in before.replicas.keys() & after.replicas.keys():
        first, second = before.replicas[address], after.replicas[address]
        computing = second.request_seconds - first.request_seconds
        busy = second.cpu_seconds - first.cpu_seconds
        # One that has started again at the same address counts from 0.
        if seconds > 0 and computing >= 0 and busy >= 0:
            loads.append(max(computing, busy) / seconds)
    return sum(loads) if loads else None


def _read_counts(metrics: str) -> Counts | None:
    """The counts of one replica; None of one that does not answer, or whose numbers are no counts."""
    try:
        found = [(name, float(value)) for name, value in SAMPLE.findall(metrics)]
    except ValueError:
        return None
    if not all(0 <= value < MOST for _, value in found):
        return None
    if not any(name == "process_cpu_seconds_total" for name, _ in found):
        return None

    def add(wanted: str) -> float:
        return sum(value for name, value in found if name.startswith(wanted))

    return Counts(add("bentoml_service_request"), add("process_cpu"), add("process_resident") / 2**20)
