"""Fails a run in which a test did not begin, where every test must: with `--everything`, TEST_EVERYTHING=1 or CI=true.

A skipped test, a test that only a mark other than `long` left out, a file that was not read, a collected test that no
process ran, and a run without tests are such. The marks and options of a run alone would leave it green.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

OFF = frozenset({"", "0", "false", "no"})
LONG_LEFT_OUT = {"not long": True, "long": False}
"""The expressions of `-m` that a whole run may have, and whether the tests that it leaves out are long."""


def must_be_whole() -> bool:
    """Whether the environment asks for every test."""
    return any(os.environ.get(name, "").lower() not in OFF for name in ("TEST_EVERYTHING", "CI"))


class Completeness:
    """Notes what was collected and what ran, in a process of its own or over those of pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._collected: set[str] = set()
        self._ended: set[str] = set()
        self._skipped: set[str] = set()
        self._left_out: set[str] = set()
        self._files: set[str] = set()

    def pytest_deselected(self, items: Iterable[pytest.Item]) -> None:
        are_long = LONG_LEFT_OUT.get(self._config.option.markexpr)
        for item in items:
            self._files.add(_find_file(item.nodeid))
            if (item.get_closest_marker("long") is not None) is not are_long:
                self._left_out.add(item.nodeid)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._collected |= set(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        self._left_out |= set(output.get("left_out", ()))
        self._files |= set(output.get("files", ()))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self._ended.add(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output |= {"left_out": sorted(self._left_out), "files": sorted(self._files)}
        elif session.exitstatus == pytest.ExitCode.OK and any(self._find_gaps().values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for what, names in self._find_gaps().items():
            for name in sorted(names):
                terminalreporter.write_line(f"FAIL: every test must run, but {name} {what}", red=True)

    def _find_gaps(self) -> dict[str, set[str]]:
        if self._config.option.collectonly:
            return {}
        read = self._files | set(map(_find_file, self._collected))
        return {
            "was skipped": self._skipped,
            "was left out": self._left_out,
            "was collected and did not run": self._collected - self._ended,
            "was not read": {file for file in self._list_files() if file not in read},
        }

    def _list_files(self) -> list[str]:
        """The files of tests in the folders that this run is for, by their path from the root."""
        root = self._config.rootpath
        folders = [self._config.invocation_params.dir / path for path in self._config.args if "::" not in path]
        return [str(file.relative_to(root)) for folder in folders for file in sorted(folder.rglob("test_*.py"))]


def _find_file(nodeid: str) -> str:
    return str(Path(nodeid.partition("::")[0]))
