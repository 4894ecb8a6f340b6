"""The command `mlops`: the same steps as the DAGs, from a shell."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ml_code.command_errors import FAILURE, USAGE_ERROR, fail
from ml_code.datasets import load_catalog
from ml_code.errors import CatalogError, DataCheckError, MlopsError, ModelFileError, SourceError, TrainingError
from ml_code.families import DEFAULT_ESTIMATOR, ESTIMATORS, MODEL_TYPES
from ml_code.settings import Settings, keep_loopback_direct, load_settings
from ml_code.training.plans import plan_training, training_arguments

if TYPE_CHECKING:
    from ml_code.gate.decision import Decision

DatasetName = Annotated[str, typer.Option("--dataset", help="Of the catalog; `mlops dataset list` lists them.")]
ModelType = Annotated[str, typer.Option(help=f"One of {', '.join(MODEL_TYPES)}.")]
Estimator = Annotated[
    str | None, typer.Option(help=f"For sklearn only: {', '.join(ESTIMATORS)}.", show_default=DEFAULT_ESTIMATOR)
]
Force = Annotated[bool, typer.Option("--force", help="Register whatever the gate says; this is recorded.")]

app = typer.Typer(
    help="Trains, judges and registers models; a rollout (the DAG model_serving_pipeline) serves them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


dataset_app = typer.Typer(help="The catalog, and the files that bring new rows.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")


@app.callback()
def configure(verbose: Annotated[bool, typer.Option("--verbose", help="Log what each step does.")] = False) -> None:
    """Trains, judges and registers models; a rollout (the DAG model_serving_pipeline) serves them."""
    keep_loopback_direct()
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def train(
    dataset: DatasetName,
    model_type: ModelType = MODEL_TYPES[0],
    estimator: Estimator = None,
    hyperparameters: Annotated[str, typer.Option(help="JSON object, such as '{\"n_estimators\": 50}'.")] = "{}",
    force: Force = False,
) -> None:
    """Train a model, let the gate judge it against the champion, and register it if it passed.

    A rejection is a result and no failure, as in the DAG: the exit code is 0.
    """
    params = {
        "dataset": dataset,
        "model_type": model_type,
        "estimator": estimator or None,
        "hyperparameters": _parse_object(hyperparameters),
        "force": force,
    }
    try:
        settings = load_settings()
        plan = plan_training(params, catalog_dir=settings.catalog_dir)
    except (CatalogError, TrainingError) as error:
        fail(error, USAGE_ERROR)
    except MlopsError as error:
        fail(error, FAILURE)
    try:
        _run(plan, settings)
    except MlopsError as error:
        fail(error, FAILURE)


@app.command()
def tune(
    dataset: DatasetName,
    model_type: ModelType = MODEL_TYPES[0],
    estimator: Estimator = None,
    sampler: Annotated[str, typer.Option(help="tpe, random or grid.")] = "tpe",
    trials: Annotated[int, typer.Option(help="How many combinations are tried.")] = 12,
) -> None:
    """Search the best hyperparameters, train a model with them, and let the gate judge it."""
    params = {"dataset": dataset, "model_type": model_type, "estimator": estimator or None}
    try:
        settings = load_settings()
        plan = plan_training(params, catalog_dir=settings.catalog_dir)
        with Console(stderr=True).status("Searching") as status:
            from ml_code.data import snapshots  # noqa: PLC0415  seconds to import, which --help does without
            from ml_code.search.trials import search_at_once  # noqa: PLC0415  seconds to import, which --help does without

            snapshot_uri = snapshots.prepare(dataset, settings=settings)
            status.update(f"Running {trials} trials")
            search = {**params, "sampler": sampler, "trials": trials}
            best = search_at_once(search, snapshot_uri, f"cli/{uuid.uuid4()}", settings=settings)
        Console(stderr=True).print(f"found       {json.dumps(best)}", highlight=False)
        _run({**plan, "hyperparameters": best}, settings)
    except (CatalogError, TrainingError) as error:
        fail(error, USAGE_ERROR)
    except MlopsError as error:
        fail(error, FAILURE)


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="ONNX file of any framework.")],
    dataset: Annotated[str, typer.Option(help="Dataset of the catalog whose rows it answers.")],
    model: Annotated[
        str | None, typer.Option(help="Registered model; `mlops models` lists them.", show_default="as the dataset")
    ] = None,
    force: Force = False,
) -> None:
    """Let the gate judge a model that was trained elsewhere, and register it if it passed."""
    try:
        settings = load_settings()
        known = load_catalog(settings.catalog_dir).list_models()
        if known.get(model or dataset) != dataset:
            names = ", ".join(name for name, of_dataset in known.items() if of_dataset == dataset) or "none"
            raise CatalogError(
                f"model: found {model or dataset!r} for the dataset {dataset!r}, expected one of its models: {names}; "
                "choose one of these, or add it to `models` in the dataset's file"
            )
        with Console(stderr=True).status("Loading the machine-learning libraries") as status:
            from ml_code.gate import imported_model  # noqa: PLC0415  seconds to import, which --help does without

            status.update("Fitting it to the rows")
            run_id = imported_model.import_model(file, dataset, model=model, settings=settings)
        _judge(run_id, model or dataset, force, settings)
    except (CatalogError, ModelFileError) as error:
        fail(error, USAGE_ERROR)
    except MlopsError as error:
        fail(error, FAILURE)


@dataset_app.command("list")
def list_datasets() -> None:
    """List the datasets of the catalog, and what is wrong with those that cannot be used."""
    try:
        folder: Path | None = load_settings().catalog_dir
    except MlopsError:
        folder = None  # the shipped catalog needs no settings
    catalog = load_catalog(folder)
    table = Table("dataset", "task", "target", "features", "gate")
    for name, entry in catalog.datasets.items():
        rule = f"{entry.gate.metric} {entry.gate.threshold:g}"
        table.add_row(name, entry.task, entry.target, ", ".join(entry.features), rule)
    Console().print(table)
    for problem in catalog.problems.values():
        Console(stderr=True).print(f"[red]broken:[/red] {problem}", markup=True, highlight=False)


@dataset_app.command("add")
def add_dataset(
    file: Annotated[Path, typer.Argument(help="CSV file with a header; .csv or .csv.gz.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset.", show_default="that of the file")] = None,
    key: Annotated[
        str | None, typer.Option(help="Column that tells rows apart.", show_default="one named as an id, if any")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression.", show_default="by the values of the target")
    ] = None,
) -> None:
    """Make a dataset of a file: uploads its rows and drafts its TOML file, for you to read and correct."""
    try:
        from ml_code.data import draft as drafts  # noqa: PLC0415  seconds to import, which --help does without

        written, draft = drafts.add_dataset(file, target, name=name, key=key, task=task)
    except MlopsError as error:
        fail(error, USAGE_ERROR if isinstance(error, CatalogError | DataCheckError | SourceError) else FAILURE)
    console = Console(soft_wrap=True)
    console.print(draft.text, markup=False, highlight=False)
    console.print(f"Written to {written}. Read it, and correct what is not meant so; within 30 s every form offers it.")
    console.print(f"Then: mlops train --dataset {draft.dataset.name}", highlight=False)


@dataset_app.command("put")
def put_dataset(
    name: Annotated[str, typer.Argument(help="Dataset of the catalog; `mlops dataset list` lists them.")],
    file: Annotated[Path, typer.Argument(help="CSV file with a header; .csv or .csv.gz.")],
) -> None:
    """Upload a file of new rows; the DAG minio_asset_example takes it in, and a training follows."""
    try:
        from ml_code.data import intake  # noqa: PLC0415  seconds to import, which --help does without

        uri = intake.put_file(name, file)
    except CatalogError as error:
        fail(error, USAGE_ERROR)
    except MlopsError as error:
        fail(error, FAILURE)
    console = Console(soft_wrap=True)
    console.print(f"Uploaded {uri}", highlight=False)
    console.print("The DAG minio_asset_example checks its rows within the minute; a training follows if they are new.")


def _run(plan: dict[str, Any], settings: Settings) -> None:
    """Takes every step and shows what came of it."""
    progress = Console(stderr=True)
    with progress.status("Loading the machine-learning libraries") as status:
        from ml_code.data import snapshots  # noqa: PLC0415  seconds to import, which --help and errors do without
        from ml_code.training import run  # noqa: PLC0415  seconds to import, which --help and errors do without

        status.update("Preparing the rows")
        snapshot_uri = snapshots.prepare(plan["dataset"], settings=settings)
        progress.print(f"prepared    {snapshot_uri}", highlight=False)
        status.update("Training and exporting")
        run_id = run.train(snapshot_uri=snapshot_uri, settings=settings, **training_arguments(plan))
        progress.print(f"trained     run {run_id}", highlight=False)
    _judge(run_id, plan["dataset"], plan["force"], settings)


def _judge(run_id: str, model: str, force: bool, settings: Settings) -> None:
    """From a run with a model file to a version, or to the reason why there is none."""
    from ml_code.gate import judging  # noqa: PLC0415
    from ml_code.gate.decision import verdict  # noqa: PLC0415

    progress = Console(stderr=True)
    with progress.status("Measuring on the holdout") as status:
        metrics = judging.evaluate(run_id, settings=settings)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        progress.print(f"measured    {figures}", highlight=False)
        status.update("Judging against the champion")
        decision = judging.decide(run_id, force=force, settings=settings)
        progress.print(f"judged      {verdict(decision)}", highlight=False)
        version = None
        if decision.is_promoted:
            status.update("Registering")
            version = judging.register(run_id, settings=settings)
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
        console.print(f"Nothing was registered. Run {run_id} keeps the model; --force registers one nevertheless.")
    elif decision.needs_approval:
        console.print(
            f"Registered {model} version {version}. It waits for a person: set its tag gate to passed "
            "in MLflow to let the DAG model_serving_pipeline serve it."
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
            f"found no JSON ({error}), expected an object", param_hint="--hyperparameters"
        ) from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"found {text}, expected an object", param_hint="--hyperparameters")
    return value
