"""The installation before it installs anything: what it checks, and its messages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("bash", "dirname", "touch", "make", "git", "sh", "env")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clean checkout, as far as the installation looks at it, at a path with a blank."""
    clone = tmp_path / "a clone"
    (clone / "docker/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "docker/bin/install.sh"):
        shutil.copy(ROOT / name, clone / name)
    shutil.copytree(ROOT / "docker/requirements", clone / "docker/requirements")
    return clone


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """What this machine has: no Python, no uv."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    return folder


def add_python(programs: Path, name: str, version: str) -> None:
    """Adds a Python that prints its version, makes an environment, and whose pip prints its arguments."""
    major, minor = version.split(".")
    program = programs / name
    program.write_text(
        "#!/usr/bin/env bash\n"
        f'case "$*" in --version) echo "Python {version}.1" ;; -c*) echo "{major} {minor}" ;;\n'
        f'"-m venv .venv") /bin/mkdir -p .venv/bin && /bin/cp "{program}" .venv/bin/python ;;\n'
        '*) echo "$*"; exit 3 ;; esac\n'
    )
    program.chmod(0o755)


def make_install(clone: Path, programs: Path, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "install"], cwd=clone, env={"PATH": str(programs)}, check=False, capture_output=True, text=True,
        user=user,
    )  # fmt: skip


def test_the_error_without_python_tells_which_version_to_install(clone: Path, programs: Path) -> None:
    done = make_install(clone, programs)
    assert done.returncode != 0
    assert "FAIL: Python: expected 3.12" in done.stderr
    assert not (clone / ".venv").exists()


def test_another_python_is_refused_with_its_version(clone: Path, programs: Path) -> None:
    add_python(programs, "python3", "3.13")
    done = make_install(clone, programs)
    assert "FAIL: Python: expected 3.12, found Python 3.13.1; install it" in done.stderr
    assert not (clone / ".venv").exists()


def test_the_right_python_is_used_under_any_name_and_pip_installs_uv(clone: Path, programs: Path) -> None:
    add_python(programs, "python3", "3.12")
    done = make_install(clone, programs)
    assert "-m pip install --quiet --require-hashes -r docker/requirements/uv.txt" in done.stdout


def test_an_index_that_does_not_answer_is_named_and_nothing_looks_installed(clone: Path, programs: Path) -> None:
    add_python(programs, "python3.12", "3.12")
    done = make_install(clone, programs)
    assert done.returncode != 0
    assert "FAIL: packages: expected the package index to answer" in done.stderr
    assert not (clone / ".venv/installed").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes a folder that another user may not write")
def test_a_checkout_that_cannot_be_written_is_named(clone: Path, programs: Path) -> None:
    add_python(programs, "python3.12", "3.12")
    for folder in clone.parents:
        if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o055 != 0o055 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = make_install(clone, programs, user=65534)
    assert "expected a folder that can be written" in done.stderr
