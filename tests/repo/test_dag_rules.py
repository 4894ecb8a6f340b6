"""Rules of the DAG files and plugins."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ml_code.canary import Canary
from serving.comparison.analysis import Rules
from serving.rollout.order import STEPS, WINDOW_SECONDS
from tests.repo.repository import ROOT, find_files, list_imports

DAGS = find_files("dags/*.py")
EXAMPLES = find_files("dags/examples/*.py")
PLUGINS = find_files("plugins/**/*.py")
LEARNING = {
    "mlflow",
    "sklearn",
    "xgboost",
    "lightgbm",
    "onnx",
    "onnxruntime",
    "skl2onnx",
    "pandas",
    "numpy",
    "matplotlib",
}
per_dag = pytest.mark.parametrize("file", [*DAGS, *EXAMPLES], ids=lambda file: file.stem)


def list_dag_ids(file: Path) -> set[str]:
    """Ids of the DAGs that a file defines: decorated functions, and `DAG("id")` calls."""
    tree = ast.parse(file.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) == "DAG"]
    decorated = {node.name for node in functions if "dag" in {_name(item) for item in node.decorator_list}}
    return decorated | {str(ast.literal_eval(call.args[0])) for call in calls if call.args}


def test_there_are_dags() -> None:
    assert {"mlops_training_pipeline", "model_serving_pipeline"} <= {file.stem for file in DAGS}


# `schedule_examples` makes its DAGs in a loop: tests/integration/dags/test_examples.py checks them.
@pytest.mark.parametrize(
    "file", [file for file in [*DAGS, *EXAMPLES] if file.stem != "schedule_examples"], ids=lambda file: file.stem
)
def test_a_file_has_the_name_of_its_one_dag(file: Path) -> None:
    found = list_dag_ids(file)
    assert file.stem in found
    assert len(found) == 1 or file.stem == "minio_asset_example"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_lesson_is_short_and_teaches_airflow_alone(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 40
    assert {name.partition(".")[0] for name in list_imports(file)} <= {
        "__future__", "airflow", "datetime", "logging", "pendulum", "typing",
    }  # fmt: skip


@per_dag
def test_the_docstring_has_a_triage_section(file: Path) -> None:
    text = file.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert re.search(r"^#+ *Triage|\*\*Triage", docstring, flags=re.MULTILINE)
    assert "doc_md" in text


@per_dag
def test_a_dag_sets_every_option_that_airflow_would_guess(file: Path) -> None:
    text = file.read_text()
    for name in ("schedule", "start_date", "catchup=False", "max_active_runs", "tags"):
        assert name in text, name


def test_importing_all_of_them_loads_no_learning_library(tmp_path: Path) -> None:
    """Airflow forks its tasks from the process that imported these: a library's threads would not survive that."""
    files = [str(file) for file in [*DAGS, *EXAMPLES, *PLUGINS]]
    program = f"""if True:
        import airflow.sdk, json, runpy, sys
        plain = set(sys.modules)
        for file in {files!r}:
            runpy.run_path(file)
        print("\\n" + json.dumps(sorted(set(sys.modules) - plain)))"""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "ml_code.datasets" in loaded
    assert {name.partition(".")[0] for name in loaded} & LEARNING == set()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every DAG as Airflow loads it where `TIMEZONE` is New York: its zone, its schedule, and each task's limit."""
    program = """if True:
        import json
        from airflow.dag_processing.dagbag import DagBag
        dags = DagBag("dags").dags.values()
        print("\\n" + json.dumps({dag.dag_id: {
            "zone": str(dag.timezone),
            "schedule": repr(dag.schedule),
            "limits": {task.task_id: str(task.execution_timeout) for task in dag.tasks},
        } for dag in dags}))"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": "America/New_York",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > len([*DAGS, *EXAMPLES])
    return found


def test_every_schedule_follows_the_stacks_time_zone_but_the_weather_is_koreas(
    loaded: dict[str, dict[str, Any]],
) -> None:
    zones = {name: dag["zone"] for name, dag in loaded.items()}
    assert zones.pop("crawling_weather") == "Asia/Seoul"
    assert set(zones.values()) == {"America/New_York"}, zones


def test_every_task_has_a_limit_of_time(loaded: dict[str, dict[str, Any]]) -> None:
    """Without that of the stack, which a user's own DAGs have too: it is set by compose alone."""
    unlimited = [
        f"{name}.{task}" for name, dag in loaded.items() for task, limit in dag["limits"].items() if limit == "None"
    ]
    assert unlimited == []


def test_the_selection_follows_the_training_by_its_asset_and_not_by_the_same_minute(
    loaded: dict[str, dict[str, Any]],
) -> None:
    assert "waiting-model/iris" in loaded["model_selection"]["schedule"]


def test_the_canarys_rules_have_the_same_defaults_in_the_catalog_and_in_the_code() -> None:
    assert Canary().model_dump() == {"window_seconds": WINDOW_SECONDS, **asdict(Rules())}


def test_the_rollout_dag_takes_the_steps_in_their_order_and_asks_a_person_before_it_promotes() -> None:
    tree = ast.parse((ROOT / "dags/model_serving_pipeline.py").read_text())
    [steps] = [
        node.value.elts
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and _name(node.targets[0]) == "steps"
    ]
    taken = ["approve" if _name(step) == "RolloutApproval" else _name(step) for step in steps]
    expected = list(STEPS)
    expected.insert(expected.index("promote"), "approve")
    assert taken == expected


def _name(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    return called.id if isinstance(called, ast.Name) else ""
