"""The drill: a backup while the stack works, then the loss of everything, then one command on the empty machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.stack import Stack

pytestmark = pytest.mark.long

FLOWER = [5.1, 3.5, 1.4, 0.2]
PASSPHRASE = "noted on paper"
MOVES = "SELECT model, action, to_version FROM warehouse.promotion_log ORDER BY move_id"
ROWS = "5.1,3.5,1.4,0.2,0\n6.7,3.0,5.2,2.3,2\n"


class Drill:
    """Types the commands on the host, with the settings of the copy."""

    def __init__(self, stack: Stack, target: Path) -> None:
        self.stack, self.target = stack, target

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name not in self.stack.environment}
        command = [str(Path(sys.executable).with_name("mlops")), *arguments]
        command += ["--target", str(self.target), "--env-file", str(self.stack.folder / ".env")]
        environment = kept | {"BACKUP_PASSPHRASE": PASSPHRASE}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=environment, cwd=self.stack.folder, text=True, **pipes)

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, said
        return said


def test_a_lost_machine_comes_back_from_a_set_that_was_made_at_work(
    stack: Stack, airflow: Airflow, trained: str, tmp_path: Path
) -> None:
    drill = Drill(stack, tmp_path / "backups")
    before = stack.query_warehouse(MOVES)
    rows = tmp_path / "later.csv"
    rows.write_text(f"sepal_length,sepal_width,petal_length,petal_width,species\n{ROWS}")
    put = stack.mlops("dataset", "put", "iris", str(rows))
    assert put.returncode == 0, put.stdout + put.stderr
    airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="random_forest")
    print(drill.run("backup"))
    print(drill.run("verify"))
    after = stack.query_warehouse(MOVES)

    stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
    (stack.folder / ".env").rename(tmp_path / "lost")
    began = time.monotonic()
    said = drill.run("restore")
    print(said, f"the whole drill: {(time.monotonic() - began) / 60:.1f} minutes")
    assert (stack.folder / ".env").read_bytes() == (tmp_path / "lost").read_bytes()
    assert stack.read_version("iris", FLOWER) is not None
    # The smoke test at the end may add moves; what was there at the backup begins the history.
    restored = stack.query_warehouse(MOVES).splitlines()
    assert restored[: len(before.splitlines())] == before.splitlines()
    assert after.splitlines()[: len(before.splitlines())] == before.splitlines()
    refused = drill.start("restore")
    assert "expected it without data" in refused.communicate(timeout=600)[0]
    assert refused.returncode == 1
    assert stack.read_version("iris", FLOWER) is not None
