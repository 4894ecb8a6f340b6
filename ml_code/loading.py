"""Fetches the file that a dataset's source names."""

from __future__ import annotations

from dataclasses import dataclass

import requests

from ml_code.datasets import CATALOG, BundledSource, Dataset, FileSource, ObjectSource, UrlSource
from ml_code.errors import SourceError
from ml_code.settings import Settings
from ml_code.storage import Storage

DOWNLOAD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A CSV file as it came; `origin` says from where."""

    content: bytes
    origin: str


def load_source(dataset: Dataset, settings: Settings) -> SourceFile:
    """Reads the source; `<datasets_dir>/<name>.csv` goes before it where that file exists.

    Raises:
        SourceError: the source cannot be reached.
        StorageError: the file or object cannot be read.
    """
    storage = Storage(settings)
    local = settings.datasets_dir / f"{dataset.name}.csv" if settings.datasets_dir else None
    if local is not None and local.is_file():
        return SourceFile(storage.read_bytes(str(local)), str(local))
    match dataset.source:
        case BundledSource():
            return SourceFile(_read_bundled_iris(), "iris.csv bundled with scikit-learn")
        case UrlSource(url=url):
            return SourceFile(_download(dataset.name, url), url)
        case FileSource(path=path):
            file = (settings.catalog_dir or CATALOG) / path
            return SourceFile(storage.read_bytes(str(file)), str(file))
        case ObjectSource(key=key):
            uri = f"{settings.datasets_uri.rstrip('/')}/{key}"
            return SourceFile(storage.read_bytes(uri), uri)


def _read_bundled_iris() -> bytes:
    from sklearn.datasets import load_iris  # noqa: PLC0415  seconds to import, which other sources do not need

    bunch = load_iris(as_frame=True)
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    text: str = bunch.frame.set_axis(names, axis="columns").to_csv(index=False)
    return text.encode()


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
