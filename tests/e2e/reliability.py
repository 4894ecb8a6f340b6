"""How long and how strictly the reliability tests try: `make reliability` sets `RELIABILITY=long`."""

from __future__ import annotations

import os

import pytest

from tests.benchmarks.load import LoadReport

IS_LONG = os.environ.get("RELIABILITY") == "long"
REPEATS = int(os.environ.get("RELIABILITY_REPEATS", "5" if IS_LONG else "1"))

ONLY_LONG = pytest.mark.skipif(not IS_LONG, reason="takes long, and others of its kind are tried: make reliability")


def wait_seconds(short: float) -> float:
    """Seconds of quiet load around an event: five times as many in the long form."""
    return short * 5 if IS_LONG else short


def check_report(
    name: str, report: LoadReport, *, p999_ms: float = float("inf"), worst_ms: float = float("inf")
) -> None:
    """Prints what a load saw and asks that no request failed and every answer named its version."""
    print(
        f"\n{name}: {report.failed} of {report.sent} failed {dict(report.failures) or ''}, p50 {report.p50_ms:.0f} ms, "
        f"p99 {report.p99_ms:.0f} ms, p99.9 {report.p999_ms:.0f} ms, worst {report.worst_ms:.0f} ms, "
        f"versions {dict(report.versions)}"
    )
    assert report.failed == 0, report
    assert sum(report.versions.values()) == report.sent
    assert report.worst_ms <= worst_ms
    if IS_LONG:
        assert report.p999_ms < p999_ms
