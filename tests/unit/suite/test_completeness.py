"""A suite of two files, run as CI runs the real one: with each way in which a test does not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import Report

REPOSITORY = Path(__file__).parents[3]
SETTINGS = (
    "[pytest]\naddopts = --import-mode=importlib -m 'not long' -p no:cacheprovider\nmarkers =\n  long: l\n  slow: s\n"
)
CONFTEST = "from tests.conftest import pytest_addoption, pytest_configure, pytest_runtest_setup\n"
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
"""Without the plugins that the real suite uses, a run takes a tenth of the time."""

XDIST = ["-p", "xdist", "--numprocesses=2"]
GOOD = "def test_one(): pass\ndef test_two(): pass\n"
LONG = "import pytest\n@pytest.mark.long\ndef test_long(): pass\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_good.py").write_text(GOOD)
    (tmp_path / "test_long.py").write_text(LONG)
    return tmp_path


def run(suite: Path, *options: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of pytest on this suite, with these variables in the environment."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "TEST_EVERYTHING", "TEST_MINUTES"}}
    environment = {**kept, **QUICK, **variables}
    command = [sys.executable, "-m", "pytest", f"--rootdir={suite}", "-c", str(suite / "pytest.ini"), str(suite)]
    done = subprocess.run(
        [*command, *options], cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [[], XDIST], ids=["alone", "xdist"])
def test_a_whole_run_passes(suite: Path, options: list[str]) -> None:
    assert run(suite, *options, TEST_EVERYTHING="1")[0] == 0


SKIPPED = "import pytest\n@pytest.mark.skip(reason='no engine')\ndef test_x(): pass\n"
SKIPPED_WITHIN = "import pytest\ndef test_x(): pytest.skip('no server')\n"
SKIPPED_FILE = "import pytest\npytest.importorskip('no_such_library')\ndef test_x(): pass\n"
EMPTY = "def check_x(): pass\n"


@pytest.mark.parametrize("options", [[], XDIST], ids=["alone", "xdist"])
def test_each_test_that_does_not_run_fails_the_run(suite: Path, options: list[str]) -> None:
    (suite / "test_skipped.py").write_text(SKIPPED)
    (suite / "test_within.py").write_text(SKIPPED_WITHIN)
    (suite / "test_file.py").write_text(SKIPPED_FILE)
    (suite / "test_empty.py").write_text(EMPTY)
    code, output = run(suite, *options, TEST_EVERYTHING="1")
    assert code == 1
    found = {
        line.partition(", but ")[2] for line in output.splitlines() if line.startswith("FAIL: every test must run")
    }
    assert {
        "test_skipped.py::test_x was skipped",
        "test_within.py::test_x was skipped",
        "test_file.py was skipped",
        "test_empty.py was not read",
    } <= found


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("-k=one", "test_good.py::test_two was left out"),
        ("-m=not slow", "test_good.py::test_two was left out"),
        ("--deselect=test_good.py::test_two", "test_good.py::test_two was left out"),
        ("--ignore=test_good.py", "test_good.py was not read"),
    ],
)
def test_an_option_that_leaves_a_test_out_fails_the_run(suite: Path, option: str, reason: str) -> None:
    (suite / "test_good.py").write_text(
        f"import pytest\n{GOOD.replace('def test_two', '@pytest.mark.slow\ndef test_two')}"
    )
    (suite / "test_other.py").write_text("def test_one(): pass\n")
    code, output = run(suite, option.replace("=test", f"={suite}/test", "ignore" in option), CI="true")
    assert code == 1
    assert f"FAIL: every test must run, but {reason}" in output


def test_a_process_that_dies_fails_the_run(suite: Path) -> None:
    (suite / "test_more.py").write_text("import os\ndef test_x(): os._exit(0)\n")
    assert run(suite, *XDIST, TEST_EVERYTHING="1")[0] != 0


def test_a_run_without_tests_fails(suite: Path) -> None:
    (suite / "test_good.py").unlink()
    (suite / "test_long.py").unlink()
    assert run(suite, TEST_EVERYTHING="1")[0] != 0


@pytest.mark.parametrize("variables", [{}, {"CI": "false", "TEST_EVERYTHING": "0"}])
def test_a_developer_may_skip(suite: Path, variables: dict[str, str]) -> None:
    (suite / "test_more.py").write_text(SKIPPED)
    assert run(suite, **variables)[0] == 0


def test_a_part_without_a_test_that_passed_has_failed(tmp_path: Path) -> None:
    (tmp_path / "fast.xml").write_text('<a><testcase classname="tests.unit.test_x" time="1"/></a>')
    (tmp_path / "e2e.xml").write_text('<a><testcase classname="tests.e2e.test_x"><skipped/></testcase></a>')
    report = Report(tmp_path, codes={"fast": 0, "e2e": 0, "integration": 0})
    report.refuse_parts_without_tests()
    assert report.codes == {"fast": 0, "e2e": 1, "integration": 1}
