from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import run
from tests.waiting import wait_until


def test_a_part_in_the_background_is_printed_whole_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import sys\nprint('found'.upper(), file=sys.stderr)\nprint('expected'.upper())\nsys.exit(3)"
    monkeypatch.setitem(run.PARTS, "fast", [sys.executable, "-c", program])
    report = run.Report(tmp_path)
    with run.running_beside("fast", report):
        wait_until(lambda: "fast" in report.minutes, 60, "the part has ended")
        assert "EXPECTED" not in capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "FOUND\n" in printed
    assert "EXPECTED\n" in printed
    assert report.codes == {"fast": 3}


def test_parts_without_the_stack_run_after_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "pass"]
    monkeypatch.setattr(run, "PARTS", dict.fromkeys(run.PARTS, program))
    report = run.Report(tmp_path)
    run.run_parts(["fast", "integration"], report)
    assert report.codes == {"fast": 0, "integration": 0}
