"""Which model names may be served: the catalog's, because an MLflow user who may read may also create models."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from ml_code.datasets import CATALOG


def read_allowed_models(folder: Path | None = None) -> dict[str, str]:
    """The dataset of each model that may be served: of the same name, or the one that lists it as a further model.

    Every poll asks, so a file is read again only when it was written. One that is broken keeps the model of its own
    name serving.
    """
    paths = sorted((folder or CATALOG).glob("*.toml"))
    further = {model: path.stem for path in paths for model in _list_further_models(path)}
    return further | {path.stem: path.stem for path in paths}


def _list_further_models(path: Path) -> tuple[str, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return _read_further_models(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _read_further_models(path: Path, _written_ns: int, _size_bytes: int) -> tuple[str, ...]:
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8")).get("models", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ()
    return tuple(model for model in models if isinstance(model, str)) if isinstance(models, list) else ()
