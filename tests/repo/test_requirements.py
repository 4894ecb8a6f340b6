"""Rules of the dependencies: floors, hash pins, and files that match pyproject.toml."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repo.repository import ROOT, find_files, list_files

PYPROJECT = (ROOT / "pyproject.toml").read_text()
TABLES = tomllib.loads(PYPROJECT)
FILES = find_files("docker/requirements/*.txt")

ELEVEN = {
    "apache-airflow", "apache-airflow-providers-amazon", "mlflow", "bentoml", "scikit-learn", "xgboost", "lightgbm",
    "pandas", "boto3", "psycopg2-binary", "requests",
}  # fmt: skip


def load_digest() -> ModuleType:
    """Loads the script from its file: a package docker/ would shadow the Docker SDK."""
    spec = importlib.util.spec_from_file_location("digest", ROOT / "docker/requirements/digest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def list_group(name: str) -> list[Requirement]:
    """The requirements of a dependency group and of those that it includes."""
    found: list[Requirement] = []
    for entry in TABLES["dependency-groups"][name]:
        found += [Requirement(entry)] if isinstance(entry, str) else list_group(entry["include-group"])
    return found


def read_pins(file: Path) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", file.read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_there_is_one_file_per_image_and_three_for_developers() -> None:
    assert {file.stem for file in FILES} == {
        "airflow",
        "mlflow",
        "serving",
        "notebook",
        "cluster",
        "dev",
        "screenshots",
        "audit",
        "chart",
        "uv",
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_matches_pyproject(file: Path) -> None:
    digest = load_digest()
    assert digest.read_digest(file) == digest.compute_digest(PYPROJECT), "run `make lock`"


def test_the_airflow_image_has_the_packages_that_the_command_needs_to_start() -> None:
    pins = read_pins(ROOT / "docker/requirements/airflow.txt")
    assert {canonicalize_name(Requirement(entry).name) for entry in TABLES["project"]["dependencies"]} <= set(pins)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_pins_every_requirement_of_its_group(file: Path) -> None:
    pins = read_pins(file)
    for requirement in list_group(file.stem):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing; run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}; run `make lock`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_line_is_a_pin_a_hash_or_a_comment(file: Path) -> None:
    pin = r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,._-]+\])?==[^ ;]+"
    never = " ; sys_platform == 'never'"
    for line in file.read_text().splitlines():
        assert re.fullmatch(rf"#.*|{pin}({never}|( ; [^\\]+)? \\)|    --hash=sha256:[0-9a-f]{{64}}( \\)?", line), line


def test_serving_installs_nothing_that_trains_or_tracks() -> None:
    pins = read_pins(ROOT / "docker/requirements/serving.txt")
    assert (
        set(pins) & {"mlflow", "mlflow-skinny", "pandas", "scikit-learn", "xgboost", "lightgbm", "apache-airflow"}
        == set()
    )


def test_cuda_stays_out() -> None:
    for file in FILES:
        lines = re.findall(r"^nvidia-.*-cu\d+==.*$", file.read_text(), flags=re.MULTILINE)
        assert all("sys_platform == 'never'" in line for line in lines), lines


def test_the_eleven_packages_are_required() -> None:
    named = {canonicalize_name(entry.name) for group in TABLES["dependency-groups"] for entry in list_group(group)}
    assert named >= ELEVEN


def test_airflow_has_its_floor() -> None:
    airflow = [entry for entry in list_group("airflow") if entry.name == "apache-airflow"]
    assert airflow
    assert all(">=3.3" in str(entry.specifier).split(",") for entry in airflow)


def test_a_lock_resolves_to_the_same_versions_until_its_date_changes() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", TABLES["tool"]["uv"]["exclude-newer"])


def test_the_lock_that_names_an_index_is_not_committed() -> None:
    assert "uv.lock" not in {file.name for file in list_files()}


def test_no_file_names_a_package_index() -> None:
    index = re.compile(r"pypi\.(org|python)|pythonhosted|--(extra-)?index-url|UV_(DEFAULT_)?INDEX|PIP_INDEX_URL")
    here = Path(__file__)
    naming = [file for file in list_files() if file != here and index.search(file.read_text(errors="replace"))]
    assert naming == []


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        (("requests>=2.32", "requests>=2.33"), True),
        (('exclude-newer = "2026', 'exclude-newer = "2027'), True),
        (("line-length = 120", "line-length = 100"), False),
    ],
)
def test_the_digest_changes_with_the_dependencies_only(change: tuple[str, str], is_other: bool) -> None:
    digest: Any = load_digest()
    changed = PYPROJECT.replace(*change)
    assert changed != PYPROJECT
    assert (digest.compute_digest(changed) != digest.compute_digest(PYPROJECT)) is is_other


def test_the_digest_is_written_as_the_first_line_once(tmp_path: Path) -> None:
    digest = load_digest()
    file = tmp_path / "serving.txt"
    file.write_text("numpy==2.5.5\n")
    for value in ("old", "new"):
        digest.write_digest(value, [file])
    assert file.read_text() == "# dependencies-sha256: new\nnumpy==2.5.5\n"
    assert digest.read_digest(file) == "new"
