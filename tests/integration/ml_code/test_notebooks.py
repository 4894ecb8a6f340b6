"""The notebooks, executed on the real servers one after another, as a person would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from sklearn.datasets import load_wine

from ml_code.data import snapshots
from ml_code.gate import judging
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.settings import Settings
from ml_code.training import run
from ml_code.workspace import Workspace, open_workspace
from tests.log_rows import make_rows, write_log
from tests.servers import MlflowServer

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
MODEL = "notebook_wine"


@pytest.fixture
def environment(stack_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables by which a notebook finds another stack than that of this checkout."""
    for name in ("mlflow_url", "mlflow_username", "s3_endpoint_url", "s3_access_key"):
        monkeypatch.setenv(f"MLOPS_{name.upper()}", str(getattr(stack_settings, name)))
    for name in ("mlflow_password", "s3_secret_key", "gate_signing_key"):
        monkeypatch.setenv(f"MLOPS_{name.upper()}", getattr(stack_settings, name).get_secret_value())
    # The kernel's debugger warns of Python's frozen modules.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


class Kernel:
    """One process for all notebooks: each would import the libraries of a training again."""

    def __init__(self, folder: Path) -> None:
        # A starved machine may take minutes for the imports of a cell.
        resources = {"metadata": {"path": str(folder)}}
        self.client = NotebookClient(nbformat.v4.new_notebook(), timeout=600, startup_timeout=300, resources=resources)

    def execute(self, name: str, **parameters: object) -> str:
        """Runs a notebook with other parameters and without names of an earlier one, and returns all that it shows."""
        notebook: Any = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        tagged = [number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
        lines = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
        notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(lines))
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
        self.client.nb = notebook
        code = [(cell, number) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        for cell, number in code:
            self.client.execute_cell(cell, number)
        outputs = [output for cell, _ in code for output in cell.outputs]
        return "\n".join(output.get("text", "") or str(output.get("data", {})) for output in outputs)


@pytest.fixture
def kernel(tmp_path: Path, environment: None) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    with kernel.client.setup_kernel():
        yield kernel


def register_linear(workspace: Workspace) -> str:
    """A second version, of another family, on the rows of the first."""
    snapshot_uri = snapshots.prepare(workspace, MODEL)
    run_id = run.train(workspace, MODEL, snapshot_uri, "sklearn", "linear")
    judging.evaluate(workspace, run_id)
    assert judging.decide(workspace, run_id, force=True).is_promoted
    return judging.register(workspace, run_id)


def log_wines(workspace: Workspace, version: str) -> None:
    """Answers of the last hours, with more alcohol than those of the training."""
    wines = load_wine(as_frame=True)
    rows = (wines.data.assign(alcohol=wines.data["alcohol"] + 1.5)).to_numpy().tolist()
    names = list(wines.data.columns)
    head = Head(MODEL, version, "champion", "live", "classification", names, ["numeric"] * len(names))
    start = datetime.now(UTC) - timedelta(hours=3)
    write_log(workspace, head, make_rows(rows, wines.target.tolist(), start=start, pause=timedelta(seconds=30)))


def test_the_notebooks_train_a_version_compare_two_and_find_drift(
    tmp_path: Path, stack_settings: Settings, mlflow_server: MlflowServer, kernel: Kernel
) -> None:
    shown = kernel.execute("train_from_csv", DATASET=MODEL, CATALOG="catalog")
    assert "178 rows, 0 of them invalid" in shown
    assert "promoted" in shown
    workspace = open_workspace(stack_settings.model_copy(update={"catalog_dir": tmp_path / "catalog"}))
    [first] = workspace.tracker.list_versions(MODEL)

    second = register_linear(workspace)
    shown = kernel.execute("compare_versions", MODEL=MODEL, CATALOG="catalog")
    assert f"accuracy: version {second} is better by" in shown
    assert "WARNING" not in shown

    mlflow_server.move_alias(MODEL, first.version)
    log_wines(workspace, first.version)
    shown = kernel.execute("explore_predictions", MODEL=MODEL, CATALOG="catalog")
    assert "178 rows" in shown
    assert "drift: 178 rows beside" in shown
    assert "alcohol" in shown
