"""Rules of the Python and shell files that no linter checks."""

from __future__ import annotations

import re
from pathlib import Path

from tests.repo.repository import ROOT, find_files, list_files, list_imports

PYTHON = find_files("**/*.py")
PACKAGES = ("ml_code", "mlops", "serving")
OWN = [file for package in PACKAGES for file in find_files(f"{package}/**/*.py")]

READERS = ("settings.py", "host.py")


def test_no_module_has_a_vague_name() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [file for file in PYTHON if file.stem in vague or file.parent.name in vague] == []


def test_no_file_changes_the_import_path() -> None:
    changing = re.compile(r"\bsys\.path\.|sys\.path\s*[+=\[]|PYTHONPATH")
    assert [file for file in PYTHON if file != Path(__file__) and changing.search(file.read_text())] == []


def test_no_file_imports_a_star() -> None:
    star = re.compile(r"^\s*from \S+ import \*", re.MULTILINE)
    assert [file for file in PYTHON if star.search(file.read_text())] == []


def test_no_module_passes_names_of_columns_as_keywords() -> None:
    """A column may be called `self`, for which `DataFrame.assign` fails."""
    keywords = re.compile(r"\.assign\(\s*\*\*")
    assert [file for file in OWN if keywords.search(file.read_text())] == []


def test_docker_is_not_a_package() -> None:
    assert find_files("docker/**/__init__.py") == []


def test_only_settings_and_the_hosts_module_read_the_environment() -> None:
    # Writing is allowed: MLflow's client reads its credentials only from the environment.
    reading = re.compile(r"environ\.get\b|getenv|environ\[[^]]+\](?! = )|in os\.environ\b|from os import .*environ")
    files = [file for file in [*OWN, *find_files("dags/**/*.py", "plugins/**/*.py")] if file.name not in READERS]
    assert [file for file in files if reading.search(file.read_text())] == []


def test_a_database_address_names_its_driver() -> None:
    """SQLAlchemy chooses a driver for an address without one; the libpq DSNs of our packages name none."""
    bare = re.compile(r"postgres(ql)?://")
    files = find_files("docker-compose.yaml", "Dockerfile", ".env.example", "docker/**/*", "dags/**/*.py")
    assert [file for file in files if bare.search(file.read_text(errors="replace"))] == []
    assert [file for file in OWN if imports_any(file, {"sqlalchemy"})] == []


def test_each_migration_has_the_next_number() -> None:
    """Two of one number would run in the order of their names, and on some databases in another one."""
    names = [file.name for file in find_files("ml_code/migrations/*.sql")]
    assert names
    assert [name.partition("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


def test_a_shell_script_is_short_and_stops_at_an_error() -> None:
    scripts = find_files("**/*.sh", ".ci/run")
    assert scripts
    for script in scripts:
        first, *lines = script.read_text().splitlines()
        expected = "set -euo pipefail" if "bash" in first else "set -eu"
        assert expected in lines, f"{script}: expected {expected}"
        assert len(lines) < 40, f"{script}: {len(lines) + 1} lines; write a longer one in Python"


def test_a_script_that_the_nginx_image_runs_at_its_start_is_executable() -> None:
    """The image skips any other script, with a line in its log."""
    for script in find_files("docker/nginx/*.sh"):
        assert script.stat().st_mode & 0o111 == 0o111, script


def test_no_file_is_large() -> None:
    large = [file for file in list_files() if file.stat().st_size > 1_000_000]
    assert [file.relative_to(ROOT) for file in large] == []


def imports_any(file: Path, packages: set[str]) -> bool:
    return bool({name.partition(".")[0] for name in list_imports(file)} & packages)
