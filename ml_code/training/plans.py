"""The plan of a training, checked before the training; imports no machine-learning library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_code.datasets import load_dataset
from ml_code.families import MODEL_TYPES, check_hyperparameters, find_family
from ml_code.ways import check_way

if TYPE_CHECKING:
    from ml_code.tracking import Tracker
    from ml_code.workspace import Workspace


type MixName = Literal["all", "balanced", "newest"]
"""All rows alike; the new rows weigh as much as all older ones; new rows only."""


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix of rows by name; live rows that were predicted at `since_ms` (UTC) or later are its new rows."""

    name: MixName
    since_ms: float


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """The running Airflow task; a retry finds its MLflow run by this origin."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def key(self) -> str:
        """The same for every try of one task."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}"

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the MLflow run."""
        return {
            "airflow.dag_id": self.dag_id,
            "airflow.run_id": self.run_id,
            "airflow.task_id": self.task_id,
            "airflow.map_index": str(self.map_index),
        }


def plan_training(params: Mapping[str, Any], *, catalog_dir: Path | None = None) -> dict[str, Any]:
    """Checks and completes the form of a person.

    Args:
        params: `dataset`, `model_type`, `estimator`, `hyperparameters`, `fit`, `force` and `max_retrain` of the form.
        catalog_dir: instead of the shipped catalog.

    Raises:
        CatalogError: the dataset is not in the catalog or its file is broken.
        TrainingError: a model type, estimator or hyperparameter is not offered, or not fitted in this way.
    """
    model_type, estimator = params.get("model_type") or MODEL_TYPES[0], params.get("estimator")
    family = find_family(model_type, estimator, load_dataset(params["dataset"], catalog_dir).task)
    check_hyperparameters(family, params.get("hyperparameters"))
    return {
        "dataset": params["dataset"],
        "model_type": family.model_type,
        "estimator": family.estimator,
        "hyperparameters": params.get("hyperparameters") or {},
        "fit": check_way(params.get("fit"), family),
        "force": bool(params.get("force")),
        "max_retrain": int(params.get("max_retrain") or 0),
        "trigger": "manual",
    }


def plan_retrainings(workspace: Workspace, datasets: Iterable[str]) -> list[dict[str, Any]]:
    """Plans one training for each distinct dataset with new rows: like its champion's, or the default one.

    Raises:
        CatalogError: a dataset is not in the catalog or its file is broken.
        TrainingError: a hyperparameter of the champion is no longer offered.
        TrackingError: MLflow refuses or cannot be reached.
    """
    recipes = {name: read_recipe(workspace.tracker, name) for name in sorted(set(datasets))}
    return [
        plan_training({"dataset": name, **recipe}, catalog_dir=workspace.settings.catalog_dir)
        | {"trigger": "data"}
        | {name: _take_files_too(value) for name, value in recipe.items() if name == "mix"}
        for name, recipe in recipes.items()
    ]


def _take_files_too(mix: dict[str, Any]) -> dict[str, Any]:
    """A mix for rows that came as a file: one of new live rows only would learn nothing of them."""
    return mix | {"name": "balanced"} if mix["name"] == "newest" else mix


def training_arguments(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a plan that `run.train` takes."""
    arguments = {name: plan[name] for name in ("dataset", "model_type", "estimator", "hyperparameters")}
    arguments["fit"] = plan.get("fit")  # a run that an older release began has none
    return arguments | ({"mix": Mix(**mix)} if (mix := plan.get("mix")) else {})


def read_recipe(tracker: Tracker, name: str) -> dict[str, Any]:
    """Reads `model_type`, `estimator`, `hyperparameters` and `mix` of the champion; empty if it was not trained here.

    Without the champion's mix, the next training would take back what the champion has learned of new rows.

    Raises:
        TrackingError: MLflow refuses.
    """
    version = tracker.read_aliases(name).get("champion")
    record = tracker.read_version(name, version) if version else None
    if record is None or record.tags.get("model_type") not in MODEL_TYPES:
        return {}
    model_type, estimator = record.tags["model_type"], record.tags["estimator"]
    params = tracker.read_run(record.run_id).params
    return {
        "model_type": model_type,
        "estimator": None if estimator == model_type else estimator,
        "hyperparameters": json.loads(params.get("hyperparameters", "{}")),
        **({"mix": {"name": params["mix"], "since_ms": float(params["mix_since_ms"])}} if "mix" in params else {}),
    }
