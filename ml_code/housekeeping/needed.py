"""What must stay, read from the registry and the warehouse: what serves, served before, or may have to decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ml_code.errors import HousekeepingError
from ml_code.gate.champion import DECISION
from ml_code.gate.decision import Decision
from ml_code.tracking import SHA256, DatedVersion
from ml_code.workspace import Workspace

MOVES = 20
"""Newest moves of a model's champion whose versions stay: a rollback goes back along them."""

DATASET_VERSION = "dataset_version"
"""Tag of a run and of a version: the digest of the rows that it was trained on."""

IN_USE = """
    SELECT unnest(ARRAY[from_version, to_version]) FROM warehouse.rollout WHERE model = %(model)s AND ended_at IS NULL
    UNION
    SELECT version FROM warehouse.retraining WHERE model = %(model)s AND ended_at IS NULL
    UNION
    SELECT unnest(ARRAY[from_version, to_version]) FROM (
      SELECT from_version, to_version FROM warehouse.promotion_log
      WHERE model = %(model)s AND to_version IS NOT NULL ORDER BY move_id DESC LIMIT %(moves)s
    ) AS moved
"""


@dataclass(frozen=True, slots=True)
class Serving:
    """A version that an alias names: its file, and the version of the dataset that it was trained on."""

    model: str
    version: str
    sha256: str | None
    dataset_version: str | None


def list_needed_versions(workspace: Workspace, model: str, made: Iterable[DatedVersion]) -> set[str]:
    """The versions of a model that stay, however old they are.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
        WarehouseError: the warehouse cannot be reached.
    """
    tags = {version.version: version.tags for version in made}
    needed = {*workspace.tracker.read_aliases(model).values(), *_read_in_use(workspace, model)}
    return needed | {best for version in needed if (best := _read_best(tags.get(version, {})))}


def list_needed_snapshots(workspace: Workspace) -> set[str]:
    """The versions of datasets that a run or a version of a model names.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    tracker = workspace.tracker
    return tracker.list_values_of_runs(DATASET_VERSION) | tracker.list_values_of_versions(DATASET_VERSION)


def list_needed_files(workspace: Workspace) -> set[str]:
    """The digests of the files of every version.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    return workspace.tracker.list_values_of_versions(SHA256)


def list_serving(workspace: Workspace) -> list[Serving]:
    """The versions with an alias, read at this moment, of each of the catalog's models.

    Raises:
        TrackingError: MLflow refuses or cannot be reached.
    """
    tracker = workspace.tracker
    found = []
    for model in workspace.catalog.list_models():
        for version in sorted(set(tracker.read_aliases(model).values())):
            tags = tracker.read_version(model, version).tags
            found.append(Serving(model, version, tags.get(SHA256), tags.get(DATASET_VERSION)))
    return found


def refuse_serving(rule: str, names: Iterable[str], serving: Iterable[Serving]) -> None:
    """Refuses a deletion of a version with an alias, its file, or the snapshot that it was trained on.

    This is a second look, which no rule takes part in: an error in a rule must not delete what serves.

    Raises:
        HousekeepingError: one of the names is such a thing.
    """
    held = {word: one for one in serving for word in (one.sha256, one.dataset_version) if word}
    versions = {name_version(one.model, one.version): one for one in serving}
    for name in names:
        word = name.rsplit("/", 1)[-1].partition(".")[0]
        one = versions.get(name) or held.get(word)
        if one is not None:
            raise HousekeepingError(
                f"rule {rule}: found {name} among what it would delete, which version {one.version} of {one.model} "
                "serves from, expected nothing that an alias names; nothing was deleted: correct the rule"
            )


def name_version(model: str, version: str) -> str:
    """The name of a version in a plan."""
    return f"version {version} of {model}"


def read_version_name(name: str) -> tuple[str, str]:
    """The version and the model that such a name tells."""
    version, _, model = name.removeprefix("version ").partition(" of ")
    return version, model


def _read_in_use(workspace: Workspace, model: str) -> set[str]:
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(IN_USE, {"model": model, "moves": MOVES})
        return {version for (version,) in cursor.fetchall() if version}


def _read_best(tags: Mapping[str, str]) -> str | None:
    """The best champion before a version, which the gate measures again."""
    try:
        return Decision.from_json(tags[DECISION]).best_version
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
