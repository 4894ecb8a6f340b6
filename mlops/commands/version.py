"""`mlops version`: what this checkout, or this container, is; and beside it what the containers of the stack run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as find_installed
from pathlib import Path

import typer
from rich.console import Console

from ml_code.errors import MlopsError
from ml_code.settings import Settings
from ml_code.workspace import open_workspace
from mlops.commands.checks import EnvFile
from mlops.commands.output import AsJson, print_json, print_table
from mlops.compose import BUILT, ComposeProject, Container
from mlops.errors import EngineError
from mlops.host import find_env_file, load_host_settings, read_env_file

LIBRARIES = ("apache-airflow", "mlflow", "bentoml", "scikit-learn", "xgboost", "lightgbm", "onnx", "onnxruntime")

RELEASE = "mlops-loop"

PLACES: Mapping[str, Sequence[str]] = {
    "airflow-scheduler": (RELEASE, "apache-airflow", "scikit-learn", "xgboost", "lightgbm", "onnx"),
    "mlflow": ("mlflow",),
    "serving": ("bentoml", "onnxruntime"),
}
"""The service whose copy of a library counts."""

SETTINGS = {"minio": "s3"}
"""Services whose image has a setting of another name."""

OF_CODE, OF_WAREHOUSE = "migration of this code", "migration of the warehouse"

MIGRATION = re.compile(r"\d{4}_\w+")

UNKNOWN = "unknown"

commands = typer.Typer()


@commands.command()
def version(env_file: EnvFile = None, *, as_json: AsJson = False) -> None:
    """Show release, commit, images, migrations and libraries: those here, and those that the stack runs."""
    file = env_file or find_env_file()
    found, running = dict(list_parts(file)), read_running(file)
    if running and MIGRATION.fullmatch(found[OF_WAREHOUSE]):
        running[OF_CODE] = found[OF_WAREHOUSE]
    rows = [
        {"part": part, "version": here, "runs": running.get(part), "differs": running.get(part, here) != here}
        for part, here in found.items()
    ]
    if as_json:
        print_json(rows)
    elif not running:
        print_table([{"part": part, "version": here} for part, here in found.items()], flexible=["version"])
    else:
        print_table([_mark(part, here, running.get(part)) for part, here in found.items()], flexible=["here", "runs"])
        if any(row["differs"] for row in rows):
            Console().print("! The stack runs something else than this checkout: `make upgrade` changes it.")


def _mark(part: str, here: str, runs: str | None) -> dict[str, str | None]:
    """The row of a person's table."""
    return {"part": part, "here": here, "runs": runs if runs in {None, here} else f"! {runs}"}


def list_parts(env_file: Path) -> Iterator[tuple[str, str]]:
    """What is here: each part with its version."""
    settings = _find_settings(env_file)
    yield "release", _find_library(RELEASE)
    yield "commit", _find_commit(settings)
    yield from _list_images(env_file)
    yield OF_CODE, _find_migration()
    yield OF_WAREHOUSE, _read_migration(settings)
    for name in LIBRARIES:
        yield name, _find_library(name)


def read_running(env_file: Path) -> dict[str, str]:
    """What the containers of the stack run, by part; nothing without a stack, or where Docker is not reached."""
    from mlops.backup.local_site import is_local

    if not env_file.is_file() or is_local(env_file):
        return {}
    project = ComposeProject(env_file.resolve())
    try:
        containers = {found.service: found for found in project.list_containers() if found.is_running}
    except EngineError:
        return {}
    running = dict(_name_images(project, containers))
    for service, names in PLACES.items():
        if container := containers.get(service):
            running |= project.read_libraries(container, names)
    if release := running.pop(RELEASE, None):
        running["release"] = release
    scheduler = containers.get("airflow-scheduler")
    if scheduler and (commit := scheduler.environment.get("MLOPS_GIT_COMMIT")):
        running["commit"] = commit
    return running


def _name_images(project: ComposeProject, containers: Mapping[str, Container]) -> Iterator[tuple[str, str]]:
    """The image of each container that this command names; one whose name stands for a newer build by now is marked."""
    for service, container in containers.items():
        built = container.image.startswith(f"{RELEASE}/")
        name = container.image.removeprefix(f"{RELEASE}/").partition(":")[0]
        part = name if built else SETTINGS.get(service, service)
        newer = built and project.find_image(container.image) != container.image_id
        yield f"image {part}", f"{container.image}, of an earlier build" if newer else container.image


def _find_settings(env_file: Path) -> Settings | None:
    try:
        return load_host_settings(env_file)
    except MlopsError:
        return None


def _find_commit(settings: Settings | None) -> str:
    from ml_code.tracking.provenance import find_git_commit

    return find_git_commit(settings) if settings else UNKNOWN


def _list_images(env_file: Path) -> Iterator[tuple[str, str]]:
    """The images by the file of the stack; none without one, such as in a container."""
    values = read_env_file(env_file) if env_file.is_file() else {}
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
