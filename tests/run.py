"""Runs `make test`: lint, unit and repo tests while the compose stack comes up, then what needs it, then the rest.

>>> python -m tests.run                    # all parts
>>> python -m tests.run fast integration   # two of them
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.own_copy import make_copy, remove
from tests.engine import has_engine

PYTEST = [sys.executable, "-m", "pytest"]
PARTS = {
    "fast": ["make", "--no-print-directory", "fast"],
    "e2e": [*PYTEST, "tests/e2e"],
    "integration": [*PYTEST, "--numprocesses", "logical", "--dist", "loadfile", "tests/integration"],
}
SLOWEST = "--durations=20 --durations-min=5"
"""Names the tests that cost most at the end of each part."""

STARTED = time.monotonic()
MINUTES = float(os.environ.get("TEST_MINUTES") or "inf")


@dataclass
class Report:
    """What ran: minutes and exit code of each part, and how its tests ended."""

    reports: Path
    minutes: dict[str, float] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def run(self, part: str, *options: str) -> None:
        """Runs one part in a process of its own, within what is left of the time budget."""
        started = time.monotonic()
        environment = {
            **os.environ,
            "PYTEST_ADDOPTS": f"{SLOWEST} {os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={self.reports / part}.xml",
            "TEST_MINUTES": str(max(MINUTES - (started - STARTED) / 60, 0)),
        }
        print(f"\n=== {part}: {' '.join(PARTS[part])}", flush=True)
        self.codes[part] = subprocess.run([*PARTS[part], *options], env=environment, check=False).returncode
        self.minutes[part] = (time.monotonic() - started) / 60

    def fail(self, part: str) -> None:
        """Notes that a part could not run."""
        self.codes[part], self.minutes[part] = 1, 0.0

    def refuse_parts_without_tests(self) -> None:
        """Fails each part whose command ended well without a test that passed."""
        for part, code in self.codes.items():
            _, outcomes = read_reports(self.reports, f"{part}.xml")
            if code == 0 and not outcomes["passed"]:
                print(f"\nFAIL: the part {part}: expected tests that pass, found none", flush=True)
                self.codes[part] = 1

    def print(self) -> None:
        """Prints the minutes of each part and folder, and how many tests passed."""
        minutes, outcomes = read_reports(self.reports)
        print(f"\n=== {(time.monotonic() - STARTED) / 60:.1f} minutes in all; of tests in each folder:")
        for folder, spent in sorted(minutes.items()):
            print(f"  {folder:32} {spent:6.1f} min")
        for part, spent in self.minutes.items():
            print(f"  {part:32} {spent:6.1f} min from start to end, {'FAILED' if self.codes[part] else 'ok'}")
        # A part may fail before its first test.
        failed = max(outcomes["failed"], sum(map(bool, self.codes.values())))
        print(f"{outcomes['passed']} passed, {failed} failed, {outcomes['skipped']} skipped")


def read_reports(folder: Path, names: str = "*.xml") -> tuple[dict[str, float], Counter[str]]:
    """Minutes by folder of tests, and the numbers of outcomes, of the reports that pytest has written."""
    minutes: dict[str, float] = defaultdict(float)
    outcomes: Counter[str] = Counter()
    for file in folder.glob(names):
        for case in ET.parse(file).getroot().iter("testcase"):
            packages = case.get("classname", "").split(".")
            minutes["/".join(packages[: 3 if "integration" in packages else 2])] += float(case.get("time", 0)) / 60
            endings = {child.tag for child in case}
            failed, skipped = endings & {"failure", "error"}, "skipped" in endings
            outcomes["failed" if failed else "skipped" if skipped else "passed"] += 1
    return minutes, outcomes


@contextmanager
def starting_stack() -> Iterator[Future[Path]]:
    """Builds and starts the compose stack in the background; removes it in the end."""
    folder = tempfile.TemporaryDirectory(prefix="mlops-loop-e2e-", ignore_cleanup_errors=True)
    with folder as name, ThreadPoolExecutor(1) as background:
        stack = make_copy(Path(name))

        def start() -> Path:
            stack.up()
            return stack.folder

        try:
            yield background.submit(start)
        finally:
            background.shutdown()
            remove(stack.project)


def run_end_to_end(report: Report, starting: Future[Path]) -> None:
    """Runs the end-to-end tests on the stack that was started; without one they have failed."""
    try:
        folder = starting.result()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        print(f"\nFAIL: the compose stack: expected it to start, found {error}", flush=True)
        report.fail("e2e")
    else:
        report.run("e2e", f"--stack={folder}")


def run_parts(parts: Collection[str], report: Report) -> None:
    """Runs parts in their order; only without an engine nothing is started, and pytest says what does not run."""
    with starting_stack() if "e2e" in parts and has_engine() else nullcontext() as starting:
        if "fast" in parts:
            report.run("fast")
        if starting:
            run_end_to_end(report, starting)
        elif "e2e" in parts:
            report.run("e2e")
    if "integration" in parts:
        report.run("integration")


def main(parts: Collection[str]) -> int:
    """Runs parts and returns 0 if all of them passed."""
    if unknown := set(parts) - PARTS.keys():
        print(f"FAIL: parts: expected some of {', '.join(PARTS)}, found {', '.join(sorted(unknown))}")
        return 2
    with tempfile.TemporaryDirectory() as reports:
        report = Report(Path(reports))
        run_parts(parts, report)
        report.refuse_parts_without_tests()
        report.print()
    return int(any(report.codes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PARTS)))
