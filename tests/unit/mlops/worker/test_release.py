"""Two places are of the same release if a task does the same in both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops.worker.release import Release, measure_release, parse_release

CHECKOUT = {
    "pyproject.toml": '[project]\nversion = "0.4.0"\n',
    "docker/requirements/airflow.txt": "redis==8.1.0\n",
    "dags/train.py": "TRAIN = 1\n",
    "plugins/notices.py": "TELL = 1\n",
    "ml_code/gate.py": "GATE = 1\n",
    "ml_code/catalog/iris.toml": "name = 'iris'\n",
    "mlops/app.py": "APP = 1\n",
    "serving/app.py": "APP = 1\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in CHECKOUT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def read(root: Path) -> Release:
    return measure_release(root, root)


def test_a_checkout_and_the_image_of_it_are_of_one_release(checkout: Path, tmp_path: Path) -> None:
    """In the image the packages are in one folder, and the DAGs in another."""
    before, image = read(checkout), tmp_path / "image"
    for name in ("dags", "plugins"):
        shutil.copytree(checkout / name, image / "airflow" / name)
    for name in ("ml_code", "mlops", "serving", "docker"):
        shutil.copytree(checkout / name, image / "mlops" / name)
    shutil.copy(checkout / "pyproject.toml", image / "mlops")
    assert measure_release(image / "mlops", image / "airflow") == before


@pytest.mark.parametrize("name", sorted(set(CHECKOUT) - {"pyproject.toml", "ml_code/catalog/iris.toml"}))
def test_any_other_file_makes_another_code(checkout: Path, name: str) -> None:
    before = read(checkout)
    (checkout / name).write_text("another\n")
    assert before.explain(read(checkout)) == "other code"


def test_a_moved_file_makes_another_code(checkout: Path) -> None:
    before = read(checkout)
    (checkout / "dags/train.py").rename(checkout / "dags/tune.py")
    assert before.explain(read(checkout)) == "other code"


def test_a_dataset_more_is_told_apart_from_other_code(checkout: Path) -> None:
    before = read(checkout)
    (checkout / "ml_code/catalog/sales.toml").write_text("name = 'sales'\n")
    assert before.explain(read(checkout)) == "another catalog of datasets"


def test_another_version_is_named(checkout: Path) -> None:
    before = read(checkout)
    (checkout / "pyproject.toml").write_text('[project]\nversion = "0.5.0"\n')
    assert before.explain(read(checkout)) == "release 0.5.0"


@pytest.mark.parametrize("name", ["dags/__pycache__/train.cpython-312.pyc", "dags/notes.md", "ml_code/.hidden"])
def test_what_no_task_reads_makes_no_other_release(checkout: Path, name: str) -> None:
    before = read(checkout)
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("another\n")
    assert before.explain(read(checkout)) == ""


def test_a_setting_holds_the_whole_release(checkout: Path) -> None:
    assert parse_release(read(checkout).text) == read(checkout)


@pytest.mark.parametrize("text", ["", "0.4.0", "0.4.0-0123456789ab", "0.4.0-0123456789AB-0123456789ab", "a b"])
def test_another_text_is_no_release(text: str) -> None:
    assert parse_release(text) is None
