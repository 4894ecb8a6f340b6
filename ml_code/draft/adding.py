"""`mlops dataset add`: uploads a file as the source of a new dataset, and writes the dataset's TOML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ml_code.dataset_schema import COMMENT
from ml_code.datasets import CATALOG
from ml_code.draft.drafting import Draft, Request, draft_dataset, make_name
from ml_code.errors import CatalogError
from ml_code.workspace import Workspace


def add_dataset(workspace: Workspace, path: Path, request: Request) -> tuple[Path, Draft]:
    """Drafts and tries a dataset, uploads its file, and writes its TOML file.

    Returns:
        Path of the TOML file, and the draft.

    Raises:
        CatalogError: the name is taken or invalid, or the TOML file cannot be written.
        SourceError: there is no such file, or it is not a table.
        DataCheckError: the file cannot be drafted from, or training would refuse it.
        StorageError: the file cannot be read, or the store refuses.
    """
    name = request.name or make_name(path)
    file = (workspace.settings.catalog_dir or CATALOG) / f"{name}.toml"
    if name in {*workspace.catalog.datasets, *workspace.catalog.problems}:
        raise CatalogError(f"dataset {name}: found {file}, expected a new name; choose another by --name, or remove it")
    draft = draft_dataset(path, request)
    if file.parent.resolve() == CATALOG.resolve():
        draft = replace(draft, text=f"{COMMENT}\n{draft.text}")
    # The TOML file appears after its rows: without rows, every DAG of it would fail. A full disk refuses it first.
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.write_text(draft.text, encoding="utf-8")
        # A replica in a container reads it as a user of its own, whatever this account's umask is.
        unfinished.chmod(0o644)
    except OSError as error:
        raise CatalogError(
            f"{file}: found {error.strerror}, expected to write it; free the disk, or correct the folder's permissions"
        ) from error
    try:
        workspace.storage.upload(path, workspace.places.locate_object(draft.dataset.source.key))  # type: ignore[union-attr]
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file, draft
