"""How full the disk of a folder is, and from when on a person is told and the prediction log stops."""

from __future__ import annotations

import shutil
from pathlib import Path

NOTABLE_SHARE = 0.80
"""From this share on a person is told."""

FULL_SHARE = 0.95
"""From this share on no answer is logged: the database and the store need the rest of the disk."""


def measure_disk(folder: Path) -> float:
    """The share of a disk that is used, as `df` counts it: without what only the system's own user may fill.

    Raises:
        OSError: there is no such folder.
    """
    usage = shutil.disk_usage(folder)
    return usage.used / (usage.used + usage.free)


def describe_disk(share: float) -> str | None:
    """What a person is told of a disk; None while there is room."""
    if share < NOTABLE_SHARE:
        return None
    stopped = "; the prediction log has stopped" if share >= FULL_SHARE else ""
    return (
        f"disk: found {share:.0%} used, expected less than {NOTABLE_SHARE:.0%}{stopped}; free space, or lower the "
        "limits of housekeeping in .env"
    )
