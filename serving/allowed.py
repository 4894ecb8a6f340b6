"""Which model names may be served: the catalog's, because whoever reads MLflow may also create models there."""

from __future__ import annotations

from importlib.resources import files


def read_allowed_names() -> frozenset[str]:
    """The names of the catalog's datasets, one file each, also of one whose contents are broken."""
    catalog = files("ml_code") / "catalog"
    return frozenset(entry.name.removesuffix(".toml") for entry in catalog.iterdir() if entry.name.endswith(".toml"))
