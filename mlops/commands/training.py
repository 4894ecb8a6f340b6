"""`mlops train`, `tune` and `register`: the steps of the training DAGs, from a shell."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from ml_code.errors import CatalogError
from ml_code.families import DEFAULT_ESTIMATOR, ESTIMATORS, MODEL_TYPES
from ml_code.settings import Settings
from ml_code.training.plans import plan_training, training_arguments
from ml_code.ways import WAYS
from ml_code.workspace import Workspace, open_workspace
from mlops.commands.deploying import connect_airflow, deploy_version, refuse_deployment
from mlops.endings import explained
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from ml_code.gate.decision import Decision

DatasetName = Annotated[str, typer.Option("--dataset", help="Dataset of the catalog; `mlops dataset list` lists them.")]
ModelType = Annotated[str, typer.Option(help=f"One of {', '.join(MODEL_TYPES)}.")]
Estimator = Annotated[
    str | None, typer.Option(help=f"For sklearn only: {', '.join(ESTIMATORS)}.", show_default=DEFAULT_ESTIMATOR)
]
Deploy = Annotated[
    bool, typer.Option("--deploy", help="Serve the registered version, and follow its rollout until it is served.")
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
    *,
    fit: Annotated[str, typer.Option(help=f"Where the rows lie during the fit: {', '.join(WAYS)}.")] = "auto",
    deploy: Deploy = False,
) -> None:
    """Train a model, compare it with the champion in the gate, and register it if it passed.

    A rejection is a result and not a failure, as in the DAG: the exit code is 0. With --deploy it is 1, because the
    version is not served.
    """
    params = {
        "dataset": dataset,
        "model_type": model_type,
        "estimator": estimator or None,
        "hyperparameters": _parse_object(hyperparameters),
        "fit": fit,
        "force": force,
    }
    with explained():
        train_once(load_host_settings(), params, deploy=deploy)


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
    answers: Annotated[
        str | None,
        typer.Option(
            help="What whole numbers as answers are: labels of the dataset, or positions of its sorted labels.",
            show_default="what fits the rows",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Pass a model that was trained elsewhere to the gate, and register it if it passed."""
    meaning = _parse_answers(answers)
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
            run_id = imported_model.import_model(workspace, file, dataset, model=model, answers=meaning)
        _judge(workspace, run_id, model or dataset, force)


def train_once(settings: Settings, params: dict[str, Any], *, deploy: bool) -> None:
    """Trains by the parameters of the DAG with progress, and deploys the version if it is asked to.

    Raises:
        MlopsError: the training failed.
        LocalStackError: the version is not served.
        Exit: there is no version to deploy.
    """
    workspace = open_workspace(settings)
    plan = plan_training(params, catalog_dir=settings.catalog_dir)
    if deploy:
        connect_airflow(settings).close()  # without a login the training would be in vain
    version = _run(workspace, plan, deploy=deploy)
    if deploy and version is None:
        refuse_deployment("no version was registered; the verdict above says why")
    if deploy:
        deploy_version(settings, plan["dataset"], version, is_chosen=False)


def _run(workspace: Workspace, plan: dict[str, Any], *, deploy: bool = False) -> str | None:
    """Runs the steps and prints their results; returns the registered version, if any."""
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
    return _judge(workspace, run_id, plan["dataset"], plan["force"], deploy=deploy)


def _judge(workspace: Workspace, run_id: str, model: str, force: bool, *, deploy: bool = False) -> str | None:
    """Judges a run's model file: registers a version and returns it, or prints the reason for a rejection."""
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
    _show(decision, model)
    _print_next(decision, run_id, model, version, deploy=deploy)
    return version


def _show(decision: Decision, model: str) -> None:
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


def _print_next(decision: Decision, run_id: str, model: str, version: str | None, *, deploy: bool) -> None:
    """Prints what became of the version, and what a person may do next."""
    console = Console(soft_wrap=True)
    if version is None:
        console.print(f"Nothing was registered. Run {run_id} keeps the model; --force registers it nevertheless.")
        return
    registered, command = f"Registered {model} version {version}.", f"mlops deploy {model} {version}"
    if decision.needs_approval:
        registered += " It waits for approval: its rollout asks a person, in Airflow under Required actions."
    elif not deploy:
        registered += " It is not served yet."
    console.print(registered, highlight=False)
    if not deploy:
        console.print(f"Then: {command}", highlight=False)


def _parse_answers(text: str | None) -> Literal["labels", "positions"] | None:
    known: dict[str, Literal["labels", "positions"]] = {"labels": "labels", "positions": "positions"}
    if text is None or text in known:
        return known[text] if text is not None else None
    raise typer.BadParameter(f"expected labels or positions, found {text[:60]!r}", param_hint="--answers")


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
