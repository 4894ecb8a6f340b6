"""`mlops dataset`: the catalog, and the files that bring new rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ml_code.datasets import Dataset, load_catalog
from ml_code.errors import DataCheckError, MlopsError, SourceError
from ml_code.workspace import open_workspace
from mlops.commands.output import print_table
from mlops.endings import explained
from mlops.host import load_host_settings

commands = typer.Typer(help="The catalog, and the files that bring new rows.", no_args_is_help=True)


@commands.command("list")
def list_datasets() -> None:
    """List the datasets of the catalog, and the problems of the unusable ones."""
    try:
        folder: Path | None = load_host_settings().catalog_dir
    except MlopsError:
        folder = None  # the shipped catalog needs no settings
    catalog = load_catalog(folder)
    print_table([_describe_dataset(entry) for entry in catalog.datasets.values()], flexible=["features"])
    for problem in catalog.problems.values():
        Console(stderr=True).print(f"[red]broken:[/red] {problem}", markup=True, highlight=False)


def _describe_dataset(dataset: Dataset) -> dict[str, str | None]:
    return {
        "dataset": dataset.name,
        "task": dataset.task,
        "target": dataset.target,
        "gate": f"{dataset.gate.metric} {dataset.gate.threshold:g}",
        "features": ", ".join(dataset.features),
    }


@commands.command("add")
def add_dataset(
    file: Annotated[Path, typer.Argument(help="CSV file with a header; .csv or .csv.gz.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset.", show_default="the file's name")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column with a unique value in each row.", show_default="a column named as an id, if any"),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression.", show_default="from the values of the target")
    ] = None,
) -> None:
    """Make a dataset from a file: upload its rows and draft its TOML file, which you read and correct."""
    with explained(DataCheckError, SourceError):
        from ml_code.data import draft as drafts

        written, draft = drafts.add_dataset(
            open_workspace(load_host_settings()), file, target, name=name, key=key, task=task
        )
    console = Console(soft_wrap=True)
    console.print(draft.text, markup=False, highlight=False)
    console.print(
        f"Written to {written}. Read it, and correct it where needed. Every form offers the dataset within 30 s."
    )
    console.print(f"Then: mlops train --dataset {draft.dataset.name}", highlight=False)


@commands.command("put")
def put_dataset(
    name: Annotated[str, typer.Argument(help="Dataset of the catalog; `mlops dataset list` lists them.")],
    file: Annotated[Path, typer.Argument(help="CSV file with a header; .csv or .csv.gz.")],
) -> None:
    """Upload a file of new rows; the DAG minio_asset_example validates it, and a training follows."""
    with explained():
        from ml_code.data import intake

        uri = intake.put_file(open_workspace(load_host_settings()), name, file)
    console = Console(soft_wrap=True)
    console.print(f"Uploaded {uri}", highlight=False)
    console.print("The DAG minio_asset_example validates its rows within a minute. A training follows if they are new.")
