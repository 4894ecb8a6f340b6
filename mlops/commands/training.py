"""`mlops train`, `tune` and `register`: the steps of the training DAGs, from a shell."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ml_code.errors import CatalogError
from ml_code.families import DEFAULT_ESTIMATOR, ESTIMATORS, MODEL_TYPES
from ml_code.training.plans import plan_training, training_arguments
from ml_code.workspace import Workspace, open_workspace
from mlops.endings import explained
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from ml_code.gate.decision import Decision

DatasetName = Annotated[str, typer.Option("--dataset", help="Dataset of the catalog; `mlops dataset list` lists them.")]
ModelType = Annotated[str, typer.Option(help=f"One of {', '.join(MODEL_TYPES)}.")]
Estimator = Annotated[
    str | None, typer.Option(help=f"For sklearn only: {', '.join(ESTIMATORS)}.", show_default=DEFAULT_ESTIMATOR)
]
Force = Annotated[bool, typer.Option("--force", help="Register even if the gate rejects; this is recorded.")]

commands = typer.Typer()


@commands.command()
def train(
    dataset: DatasetName,
    model_type: ModelType = MODEL_TYPES[0],
    estimator: Estimator = None,
    hyperparameters: Annotated[str, typer.Option(help="JSON object, such as '{\"n_estimators\": 50}'.")] = "{}",
    force: Force = False,
) -> None:
    """Train a model, compare it with the champion in the gate, and register it if it passed.

    A rejection is a result and not a failure, as in the DAG: the exit code is 0.
    """
    params = {
        "dataset": dataset,
        "model_type": model_type,
        "estimator": estimator or None,
        "hyperparameters": _parse_object(hyperparameters),
        "force": force,
    }
    with explained():
        workspace = open_workspace(load_host_settings())
        _run(workspace, plan_training(params, catalog_dir=workspace.settings.catalog_dir))


@commands.command()
def tune(
    dataset: DatasetName,
    model_type: ModelType = MODEL_TYPES[0],
    estimator: Estimator = None,
    sampler: Annotated[str, typer.Option(help="tpe, random or grid.")] = "tpe",
    trials: Annotated[int, typer.Option(help="Number of combinations to try.")] = 12,
) -> None:
    """Search the best hyperparameters, train a model with them, and pass it to the gate."""
    params = {"dataset": dataset, "model_type": model_type, "estimator": estimator or None}
    with explained():
        workspace = open_workspace(load_host_settings())
        plan = plan_training(params, catalog_dir=workspace.settings.catalog_dir)
        with Console(stderr=True).status("Searching") as status:
            from ml_code.data import snapshots
            from ml_code.search.trials import search_at_once

            snapshot_uri = snapshots.prepare(workspace, dataset)
            status.update(f"Running {trials} trials")
            search = {**params, "sampler": sampler, "trials": trials}
            best = search_at_once(workspace, search, snapshot_uri, f"cli/{uuid.uuid4()}")
        Console(stderr=True).print(f"found       {json.dumps(best)}", highlight=False)
        _run(workspace, {**plan, "hyperparameters": best})


@commands.command()
def register(
    file: Annotated[Path, typer.Argument(help="ONNX file of any framework.")],
    dataset: Annotated[str, typer.Option(help="Dataset of the catalog whose rows it predicts.")],
    model: Annotated[
        str | None, typer.Option(help="Registered model; `mlops models` lists them.", show_default="the dataset's name")
    ] = None,
    force: Force = False,
) -> None:
    """Pass a model that was trained elsewhere to the gate, and register it if it passed."""
    with explained():
        workspace = open_workspace(load_host_settings())
        known = workspace.catalog.list_models()
        if known.get(model or dataset) != dataset:
            names = ", ".join(name for name, of_dataset in known.items() if of_dataset == dataset) or "none"
            raise CatalogError(
                f"model: found {model or dataset!r} for the dataset {dataset!r}, expected one of its models: {names}; "
                "choose one of these, or add it to `models` in the dataset's file"
            )
        with Console(stderr=True).status("Loading the machine-learning libraries") as status:
            from ml_code.gate import imported_model

            status.update("Checking it with the rows")
            run_id = imported_model.import_model(workspace, file, dataset, model=model)
        _judge(workspace, run_id, model or dataset, force)


def _run(workspace: Workspace, plan: dict[str, Any]) -> None:
    """Runs the steps and prints their results."""
    progress = Console(stderr=True)
    with progress.status("Loading the machine-learning libraries") as status:
        from ml_code.data import snapshots
        from ml_code.training import run

        status.update("Preparing the rows")
        snapshot_uri = snapshots.prepare(workspace, plan["dataset"])
        progress.print(f"prepared    {snapshot_uri}", highlight=False)
        status.update("Training and exporting")
        run_id = run.train(workspace, snapshot_uri=snapshot_uri, **training_arguments(plan))
        progress.print(f"trained     run {run_id}", highlight=False)
    _judge(workspace, run_id, plan["dataset"], plan["force"])


def _judge(workspace: Workspace, run_id: str, model: str, force: bool) -> None:
    """Judges a run's model file: registers a version, or prints the reason for a rejection."""
    from ml_code.gate import judging
    from ml_code.gate.decision import verdict

    progress = Console(stderr=True)
    with progress.status("Measuring on the holdout") as status:
        metrics = judging.evaluate(workspace, run_id)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        progress.print(f"measured    {shown}", highlight=False)
        status.update("Judging against the champion")
        decision = judging.decide(workspace, run_id, force=force)
        progress.print(f"judged      {verdict(decision)}", highlight=False)
        version = None
        if decision.is_promoted:
            status.update("Registering")
            version = judging.register(workspace, run_id)
    _show(decision, run_id, model, version)


def _show(decision: Decision, run_id: str, model: str, version: str | None) -> None:
    console = Console()
    table = Table("", "challenger", f"champion ({decision.champion_version or 'none yet'})", title=model)
    of_champion = "-" if decision.champion_score is None else f"{decision.champion_score:.4f}"
    table.add_row(decision.metric, f"{decision.score:.4f}", of_champion)
    table.add_row("threshold", f"{decision.threshold:g}", "")
    table.add_row("holdout rows", str(decision.holdout_rows), "")
    table.add_row("verdict", f"{decision.outcome}: {decision.reason}", "")
    console.print(table)
    if decision.warning:
        console.print(decision.warning, highlight=False)
    if version is None:
        console.print(f"Nothing was registered. Run {run_id} keeps the model; --force registers it nevertheless.")
    elif decision.needs_approval:
        console.print(
            f"Registered {model} version {version}. It waits for approval: set its tag gate to passed "
            "in MLflow, then trigger the DAG model_serving_pipeline."
        )
    else:
        console.print(
            f"Registered {model} version {version}. It is not served yet: "
            f"trigger the DAG model_serving_pipeline to make it the champion."
        )


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"expected a JSON object, found invalid JSON ({error})", param_hint="--hyperparameters"
        ) from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"expected a JSON object, found {text}", param_hint="--hyperparameters")
    return value
