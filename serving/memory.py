"""The memory of a replica's process: what it has and what it uses."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds its limit, in the second and in the first version of control groups."""

OPENING_FACTOR = 12
"""Opening a file takes so many times its size."""

REQUESTS_BYTES = 200_000_000
"""What large requests take together; docs/budgets.md has the sum."""

IDLE_BYTES = 100_000_000
"""What a replica takes without a model and without requests."""


def describe_shortage(file_bytes: int) -> str | None:
    """Why there is no memory to open another file beside the models in memory and the requests; None if there is."""
    limit, used = read_limit_bytes(), read_used_bytes()
    needed = OPENING_FACTOR * file_bytes + REQUESTS_BYTES
    if limit is None or used + needed <= limit:
        return None
    return (
        f"memory: found {used / 1e6:.0f} MB in use, expected at most {(limit - needed) / 1e6:.0f} MB of "
        f"{limit / 1e6:.0f} MB, because opening this file and large requests take {needed / 1e6:.0f} MB; train a "
        "smaller model, or raise the replicas' mem_limit"
    )


def fits_alone(file_bytes: int) -> bool:
    """Whether a replica without another model and without requests could open a file: then a shortage may pass."""
    limit = read_limit_bytes()
    return limit is None or IDLE_BYTES + OPENING_FACTOR * file_bytes + REQUESTS_BYTES <= limit


def read_limit_bytes() -> int | None:
    """The memory limit of this container; None where there is none."""
    for path in LIMITS:
        with suppress(OSError, ValueError):
            limit = int(path.read_text())
            return limit if limit < 1 << 60 else None  # the first version writes a huge number for none
    return None


def read_used_bytes() -> int:
    """The resident memory of this process; 0 where the system does not tell."""
    with suppress(OSError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
