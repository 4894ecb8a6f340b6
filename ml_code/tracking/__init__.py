"""MLflow: runs, candidates and versions; the only package that imports it."""

from __future__ import annotations

from ml_code.tracking.connection import SHA256
from ml_code.tracking.runs import MODEL, RunRecord, RunTracker
from ml_code.tracking.upkeep import DatedVersion, UpkeepTracker
from ml_code.tracking.versions import VersionRecord, VersionTracker

__all__ = ["MODEL", "SHA256", "DatedVersion", "RunRecord", "Tracker", "VersionRecord"]


class Tracker(RunTracker, VersionTracker, UpkeepTracker):
    """The tracking server of the settings.

    >>> Tracker(settings).read_aliases("iris")
    {'champion': '3'}
    """
