"""The code and the libraries that made a model."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version as installed_version

from ml_code.settings import REPOSITORY, Settings

LIBRARIES = ("scikit-learn", "xgboost", "lightgbm", "skl2onnx", "onnxmltools", "onnx", "onnxruntime", "numpy", "pandas")


def find_git_commit(settings: Settings) -> str:
    """Commit of the running code, from the settings or from git; `unknown` if neither knows it."""
    git = shutil.which("git")
    if settings.git_commit or git is None:
        return settings.git_commit or "unknown"
    command = [git, "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  no input from outside
    return answer.stdout.strip() or "unknown"


def list_libraries() -> dict[str, str]:
    """Versions of the libraries that affect a model file, as tags."""
    return {f"library.{name}": installed_version(name) for name in LIBRARIES}


def pin_requirements(names: Sequence[str]) -> list[str]:
    """Requirements in pip's form; without them MLflow would import the model to find them (7-10 s)."""
    return [f"{name}=={installed_version(name)}" for name in names]
