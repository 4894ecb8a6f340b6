"""What the tests under constant arrival share: how long the load is, and what it must not have seen.

In every push each test runs once beside other work; the long form repeats it, loads for longer and asks for latencies.
"""

from __future__ import annotations

import math

from tests.benchmarks.load import LoadReport


def load_seconds(short: float, *, is_long: bool) -> float:
    """Seconds of load around an event: five times as many in the long form."""
    return short * 5 if is_long else short


def check_report(name: str, report: LoadReport, *, p999_ms: float = math.inf, worst_ms: float = math.inf) -> None:
    """Prints what a load saw and asks that no request failed and every answer named its version."""
    print(
        f"\n{name}: {report.failed} of {report.sent} failed {dict(report.failures) or ''}, p50 {report.p50_ms:.0f} ms, "
        f"p99 {report.p99_ms:.0f} ms, p99.9 {report.p999_ms:.0f} ms, worst {report.worst_ms:.0f} ms, "
        f"versions {dict(report.versions)}"
    )
    assert report.failed == 0, report
    assert sum(report.versions.values()) == report.sent
    assert report.worst_ms <= worst_ms
    assert report.p999_ms < p999_ms
