"""Which model names may be served: the catalog's, because whoever reads MLflow may also create models there."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ml_code.datasets import CATALOG


def read_allowed_models(folder: Path | None = None) -> dict[str, str]:
    """The dataset of each model that may be served: of the same name, or the one that lists it as a further model.

    A file that is broken keeps the model of its own name serving.
    """
    datasets: dict[str, str] = {}
    for path in sorted((folder or CATALOG).glob("*.toml")):
        datasets |= dict.fromkeys(_read_further_models(path), path.stem)
        datasets[path.stem] = path.stem
    return datasets


def _read_further_models(path: Path) -> list[str]:
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8")).get("models", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    return [model for model in models if isinstance(model, str)] if isinstance(models, list) else []
