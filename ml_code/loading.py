"""Reads the rows of a dataset from its source."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import requests

from ml_code.datasets import CATALOG, BundledSource, Dataset, FileSource, ObjectSource, UrlSource
from ml_code.errors import SourceError
from ml_code.settings import Settings
from ml_code.storage import Storage

DOWNLOAD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows as they came, and the sha256 of the file that brought them."""

    frame: pd.DataFrame
    sha256: str


def load_rows(dataset: Dataset, settings: Settings) -> SourceRows:
    """Reads the source; `<datasets_dir>/<name>.csv` goes before it where that file exists.

    Raises:
        SourceError: the source cannot be reached, or is no CSV.
        StorageError: the object cannot be read.
    """
    local = settings.datasets_dir / f"{dataset.name}.csv" if settings.datasets_dir else None
    if local is not None and local.is_file():
        return _parse(local.read_bytes(), str(local))
    match dataset.source:
        case BundledSource():
            return _parse(_read_bundled_iris(), "the rows bundled with scikit-learn")
        case UrlSource(url=url):
            return _parse(_download(dataset.name, url), url)
        case FileSource(path=path):
            return _parse(_read_file((settings.catalog_dir or CATALOG) / path), path)
        case ObjectSource(key=key):
            uri = f"{settings.datasets_uri.rstrip('/')}/{key}"
            return _parse(Storage(settings).read_bytes(uri), uri)


def _parse(content: bytes, origin: str) -> SourceRows:
    try:
        frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_values=[""])
    except (ValueError, UnicodeDecodeError) as error:
        raise SourceError(f"source {origin}: found no CSV ({error}), expected a header and rows; mend it") from error
    return SourceRows(frame, hashlib.sha256(content).hexdigest())


def _read_bundled_iris() -> bytes:
    from sklearn.datasets import load_iris  # noqa: PLC0415  seconds to import, which other sources do not need

    bunch = load_iris(as_frame=True)
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    text: str = bunch.frame.set_axis(names, axis="columns").to_csv(index=False)
    return text.encode()


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"source {path}: found {error.strerror}, expected a CSV file; put it there") from error


def _download(name: str, url: str) -> bytes:
    try:
        answer = requests.get(url, timeout=DOWNLOAD_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise SourceError(
            f"source {url}: found {error}, expected a CSV file; "
            f"where the internet is not reached, put {name}.csv into a folder and set MLOPS_DATASETS_DIR to it"
        ) from error
    return answer.content
