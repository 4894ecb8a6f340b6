"""Rules of the notebooks: no result is committed, and each can be run with other parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.repository import ROOT, find_files

NOTEBOOKS = find_files("**/*.ipynb")
STRIP = ROOT / "notebooks/strip.py"
per_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)


def strip(file: Path) -> int:
    return subprocess.run([sys.executable, str(STRIP), str(file)], capture_output=True, check=False).returncode


def test_there_are_three() -> None:
    assert {file.stem for file in NOTEBOOKS} == {"train_from_csv", "explore_predictions", "compare_versions"}


@per_notebook
def test_a_notebook_is_committed_without_results(notebook: Path, tmp_path: Path) -> None:
    copy = tmp_path / notebook.name
    copy.write_text(notebook.read_text())
    assert strip(copy) == 0, f"python notebooks/strip.py {notebook.relative_to(ROOT)}"


@per_notebook
def test_a_notebook_has_one_cell_of_parameters(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    assert [cell["metadata"].get("tags") for cell in cells if cell["metadata"]] == [["parameters"]]


def test_results_and_traces_of_an_editor_are_removed(tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "notebooks/compare_versions.ipynb").read_text())
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["a secret row"]}]
    code["execution_count"], code["metadata"]["collapsed"] = 7, True
    notebook["metadata"]["widgets"] = {"state": "a secret row"}
    dirty = tmp_path / "dirty.ipynb"
    dirty.write_text(json.dumps(notebook))
    assert strip(dirty) == 1
    assert "secret" not in dirty.read_text()
    assert strip(dirty) == 0
