"""Which model names may be served: the catalog's, because whoever reads MLflow may also create models there."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ml_code.datasets import CATALOG


def read_allowed_names(folder: Path | None = None) -> frozenset[str]:
    """The names of the catalog's datasets, which are their files' names, and of the further models of each.

    A file that is broken keeps the model of its own name serving.
    """
    names: set[str] = set()
    for path in (folder or CATALOG).glob("*.toml"):
        names |= {path.stem, *_read_further_models(path)}
    return frozenset(names)


def _read_further_models(path: Path) -> list[str]:
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8")).get("models", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    return [model for model in models if isinstance(model, str)] if isinstance(models, list) else []
