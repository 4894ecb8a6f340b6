"""Fetches the file of a dataset's source."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

import requests

from ml_code.data.downloads import download
from ml_code.data.validation import refuse_missing_columns
from ml_code.datasets import CATALOG, Dataset
from ml_code.errors import DataCheckError, SourceError
from ml_code.reading.table import open_table
from ml_code.sources import BundledSource, FileSource, ObjectSource, UrlSource
from ml_code.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A CSV file and its origin."""

    content: bytes
    origin: str


def load_source(workspace: Workspace, dataset: Dataset) -> SourceFile:
    """Reads the source, or `<datasets_dir>/<name>.csv` instead if that file exists.

    The store keeps a copy of a file from the internet as `sources/<name>.csv`. It replaces the file when the address
    fails or returns other content.

    Raises:
        SourceError: the source cannot be reached.
        StorageError: the file or object cannot be read, or lies outside of the places that may be named.
    """
    settings, files = workspace.settings, workspace.named_files
    local = settings.datasets_dir.resolve() / f"{dataset.name}.csv" if settings.datasets_dir else None
    if local is not None and local.is_file():
        return SourceFile(files.read_bytes(str(local)), str(local))
    match dataset.source:
        case BundledSource():
            return SourceFile(_read_bundled_iris(), "iris.csv bundled with scikit-learn")
        case UrlSource(url=url):
            return _load_from_internet(workspace, dataset, url)
        case FileSource(path=path):
            file = (settings.catalog_dir or CATALOG).resolve() / path
            return SourceFile(files.read_bytes(str(file)), str(file))
        case ObjectSource(key=key):
            uri = files.resolve(key)
            return SourceFile(files.read_bytes(uri), uri)


def _load_from_internet(workspace: Workspace, dataset: Dataset, url: str) -> SourceFile:
    name, storage = dataset.name, workspace.storage
    kept = workspace.places.locate_source(name)
    try:
        content = download(url)
        # A portal's web page has status 200 as well, and must not replace the copy.
        table = open_table(io.BytesIO(content), url, dataset.reading, dataset.columns)
        refuse_missing_columns(dataset, table.header)
    except (requests.RequestException, SourceError, DataCheckError) as error:
        if storage.find(kept) is None:
            raise SourceError(
                f"source of {name}: found {error}, expected a CSV file; make {url} reachable, or put {name}.csv into "
                f"a folder and set MLOPS_DATASETS_DIR to it, or upload it as {kept}"
            ) from error
        log.warning("%s: %s returned no rows (%s), so %s is read", name, url, error, kept)
        return SourceFile(storage.read_bytes(kept), kept)
    storage.write_bytes(kept, content)
    return SourceFile(content, url)


def _read_bundled_iris() -> bytes:
    from sklearn.datasets import load_iris  # noqa: PLC0415  seconds to import, which other sources do not need

    bunch = load_iris(as_frame=True)
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    text: str = bunch.frame.set_axis(names, axis="columns").to_csv(index=False)
    return text.encode()
