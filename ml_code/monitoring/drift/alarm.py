"""The alarm of a model: its rows drift, and did so not only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml_code.monitoring.drift.history import JudgedWindow, read_windows
from ml_code.monitoring.drift.windows import Window
from ml_code.workspace import Workspace

LOOKED_AT = 5
LONGEST = 200
"""Windows through which the beginning of a drift is looked for."""

NEEDED = 2
"""Of the last `LOOKED_AT` windows: one in a hundred clean ones drifts by chance, but hardly ever two of five."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The windows of the last few that drifted, the oldest first, and what differs in the newest one.

    `began` is the start of the drift that goes on: it may be older than the windows.
    """

    model: str
    version: str
    windows: tuple[Window, ...]
    drifted: tuple[str, ...]
    page_uri: str | None
    began: datetime

    def describe(self) -> str:
        """The alarm as a notice."""
        columns = ", ".join(self.drifted[:5]) + (f" and {len(self.drifted) - 5} more" if len(self.drifted) > 5 else "")
        return (
            f"{self.model} version {self.version}: {len(self.windows)} of the last {LOOKED_AT} windows drifted, "
            f"the last one from {self.windows[-1]}. It differs in {columns}. Page: {self.page_uri}"
        )


def find_alarm(workspace: Workspace, model: str) -> Alarm | None:
    """The alarm of a model's champion; None while there is none.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
        WarehouseError: the warehouse cannot be reached.
    """
    version = workspace.tracker.read_aliases(model).get("champion")
    return None if version is None else judge_history(model, version, read_windows(workspace, model, version, LONGEST))


def judge_history(model: str, version: str, newest_first: Sequence[JudgedWindow]) -> Alarm | None:
    """The alarm by a version's windows: the newest one drifts, and one more of the last five.

    Nothing alarms while the newest window has faults: a model must not learn them.
    """
    last = newest_first[:LOOKED_AT]
    drifting = [found for found in last if found.verdict == "drift"]
    if len(drifting) < NEEDED or last[0].verdict != "drift":
        return None
    windows = tuple(found.window for found in reversed(drifting))
    began = find_beginning(newest_first)
    return Alarm(model, version, windows, tuple(last[0].figures["drifted"]), last[0].page_uri, began)


def find_beginning(newest_first: Sequence[JudgedWindow]) -> datetime:
    """Start of the drift of the newest window: no two of its windows lie further apart than an alarm looks back."""
    first = 0
    for place, found in enumerate(newest_first):
        if found.verdict == "drift" and place - first < LOOKED_AT:
            first = place
    return newest_first[first].window.start
