from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlops import commands
from mlops.app import COMMANDS, app, load_command

LATER = ("httpx", "pydantic", "dotenv", "mlops.host", "mlops.commands.models")
"""What most commands need, and a text of help does not."""

HEAVY = ("pandas", "sklearn", "xgboost", "lightgbm", "mlflow", "onnx", "matplotlib", "boto3", "psycopg2", "psutil")


@pytest.mark.parametrize("module", ["mlops.app", "ml_code.datasets", "ml_code.families", "ml_code.training.plans"])
def test_no_machine_learning_library_is_imported_before_it_is_used(module: str) -> None:
    program = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_list_of_commands_is_shown_without_importing_them() -> None:
    program = "import sys; from mlops.app import app; app(['--help'], standalone_mode=False); "
    program += f"print([name for name in {LATER!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout[-500:]
    assert "rollback" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_tells_what_each_says_of_itself(name: str) -> None:
    first, _, _ = (load_command(name).help or "").partition("\n\n")
    assert " ".join(first.split()) == COMMANDS[name][1]


def test_every_command_of_every_module_is_in_the_list() -> None:
    for module in pkgutil.iter_modules(commands.__path__):
        own = getattr(import_module(f"mlops.commands.{module.name}"), "commands", None)
        listed = [name for name, (place, _) in COMMANDS.items() if place == module.name]
        if own is None:
            assert not listed
        elif own.info.help:
            assert len(listed) == 1
        else:
            assert listed == list(typer.main.get_group(own).commands)


def test_a_command_that_does_not_exist_is_named_with_the_one_that_was_meant() -> None:
    done = CliRunner().invoke(app, ["modls"])
    assert done.exit_code == 2
    assert "Did you mean 'models'?" in done.output


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    """The environment holds only the wheel and its dependencies."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); "
        "from mlops.app import app; app(['train', '--dataset', 'iris'])"
    )
    settings = ("MLFLOW_URL", "MLFLOW_USERNAME", "MLFLOW_PASSWORD", "S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY")
    environment = {**os.environ, **{f"MLOPS_{name}": "http://127.0.0.1:1" for name in settings}}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: library \w+: expected to import it, .*`make install`.*\n", done.stderr), done.stderr


def test_the_catalog_is_listed() -> None:
    done = CliRunner().invoke(app, ["dataset", "list"])
    assert done.exit_code == 0
    assert "iris" in done.stdout


@pytest.mark.parametrize("command", [["doctor"], ["demo"], ["local", "up"], ["local", "status"]])
def test_a_local_command_outside_a_checkout_asks_for_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.local.settings.REPOSITORY", tmp_path)
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert f"{tmp_path}: expected a checkout with docker-compose.yaml, found none" in done.output.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "tulips"], "found 'tulips'"),
        (["--dataset", "iris", "--model-type", "torch"], "found 'torch'"),
        (["--dataset", "iris", "--hyperparameters", "[]"], "expected a JSON object"),
        (["--dataset", "iris", "--hyperparameters", "{"], "found invalid JSON"),
        (["--dataset", "iris", "--hyperparameters", '{"n_trees": 1}'], "the unknown n_trees"),
        ([], "--dataset"),
    ],
)
def test_a_wrong_option_is_a_usage_error(options: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "MLFLOW_URL",
        "MLFLOW_USERNAME",
        "MLFLOW_PASSWORD",
        "S3_ENDPOINT_URL",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
    ):
        monkeypatch.setenv(f"MLOPS_{name}", "http://127.0.0.1:1")
    done = CliRunner().invoke(app, ["train", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output
