"""`mlops version`: the release, the commit, the images, the migrations and the libraries of what runs here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as find_installed

import typer

from ml_code.errors import MlopsError
from ml_code.settings import Settings
from ml_code.workspace import open_workspace
from mlops.commands.output import AsJson, print_json, print_table
from mlops.host import find_env_file, load_host_settings, read_env_file

LIBRARIES = ("apache-airflow", "mlflow", "bentoml", "scikit-learn", "xgboost", "lightgbm", "onnx", "onnxruntime")

BUILT = ("airflow", "mlflow", "serving")
"""Images that are built here, with the tag IMAGE_TAG."""

UNKNOWN = "unknown"

commands = typer.Typer()


@commands.command()
def version(*, as_json: AsJson = False) -> None:
    """Show the release, the commit, the images, the migrations and the libraries of this stack."""
    rows = [{"part": part, "version": found} for part, found in list_parts()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, flexible=["version"])


def list_parts() -> Iterator[tuple[str, str]]:
    """What runs: each part with its version."""
    settings = _find_settings()
    yield "release", _find_library("mlops-loop")
    yield "commit", _find_commit(settings)
    yield from _list_images()
    yield "migration of this code", _find_migration()
    yield "migration of the warehouse", _read_migration(settings)
    for name in LIBRARIES:
        yield name, _find_library(name)


def _find_settings() -> Settings | None:
    try:
        return load_host_settings()
    except MlopsError:
        return None


def _find_commit(settings: Settings | None) -> str:
    from ml_code.tracking.provenance import find_git_commit

    return find_git_commit(settings) if settings else UNKNOWN


def _list_images() -> Iterator[tuple[str, str]]:
    """The images by the file of the stack; none without one, such as in a container."""
    path = find_env_file()
    values = read_env_file(path) if path.is_file() else {}
    for name in BUILT if values else ():
        yield f"image {name}", f"mlops-loop/{name}:{values.get('IMAGE_TAG') or 'dev'}"
    for name, image in sorted(values.items()):
        if name.endswith("_IMAGE") and image:
            yield f"image {name.removesuffix('_IMAGE').lower()}", image


def _find_migration() -> str:
    from ml_code.warehouse import MIGRATIONS

    return max(file.stem for file in MIGRATIONS.glob("[0-9]*.sql"))


def _read_migration(settings: Settings | None) -> str:
    if settings is None:
        return f"{UNKNOWN}: no settings of a stack"
    try:
        with open_workspace(settings).warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT max(name) FROM warehouse.schema_version")
            found = cursor.fetchone()
    except MlopsError as error:
        return f"{UNKNOWN}: {error}"
    return str(found[0]).removesuffix(".sql") if found and found[0] else "none"


def _find_library(name: str) -> str:
    try:
        return find_installed(name)
    except PackageNotFoundError:
        return "not installed here"
