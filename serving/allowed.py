"""Which model names may be served: the catalog's, because whoever reads MLflow may also create models there."""

from __future__ import annotations

from pathlib import Path

from ml_code.datasets import CATALOG


def read_allowed_names(folder: Path | None = None) -> frozenset[str]:
    """The names of the catalog's datasets, which are their files' names; a broken file keeps its model serving."""
    return frozenset(path.stem for path in (folder or CATALOG).glob("*.toml"))
