"""What a training run is asked to do, checked before anything is trained; needs no machine-learning library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ml_code.datasets import load_dataset
from ml_code.families import check_hyperparameters, find_family


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """The Airflow task that runs; one run is found again by dag, run and map index on a retry."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def key(self) -> str:
        """Equal on every try of one task."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}"

    @property
    def tags(self) -> dict[str, str]:
        """As they stand on the run."""
        return {
            "airflow.dag_id": self.dag_id,
            "airflow.run_id": self.run_id,
            "airflow.task_id": self.task_id,
            "airflow.map_index": str(self.map_index),
        }


def plan_trainings(
    params: Mapping[str, Any], event_datasets: Iterable[str] = (), *, catalog_dir: Path | None = None
) -> list[dict[str, Any]]:
    """One plan per dataset: those of the events if there are any, else the one of the form.

    Args:
        params: `dataset`, `model_type`, `estimator`, `hyperparameters` and `force` of the form.
        event_datasets: datasets that the triggering events name.
        catalog_dir: instead of the shipped catalog.

    Raises:
        CatalogError: a dataset is not in the catalog or its file is broken.
        TrainingError: the form asks for a model type, estimator or hyperparameter that is not offered.
    """
    named = sorted(set(event_datasets))
    trigger: Literal["manual", "data"] = "data" if named else "manual"
    model_type, estimator = params.get("model_type") or "sklearn", params.get("estimator")
    plans = []
    for name in named or [params["dataset"]]:
        family = find_family(model_type, estimator, load_dataset(name, catalog_dir).task)
        check_hyperparameters(family, params.get("hyperparameters"))
        plans.append(
            {
                "dataset": name,
                "model_type": family.model_type,
                "estimator": family.estimator,
                "hyperparameters": params.get("hyperparameters") or {},
                "force": bool(params.get("force")) and trigger == "manual",
                "trigger": trigger,
            }
        )
    return plans


def training_arguments(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What of a plan `pipeline.train` takes."""
    return {name: plan[name] for name in ("dataset", "model_type", "estimator", "hyperparameters")}
