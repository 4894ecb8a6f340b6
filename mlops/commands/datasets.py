"""`mlops dataset`: the catalog, and the files that bring new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ml_code.datasets import Dataset, load_catalog
from ml_code.errors import DataCheckError, MlopsError, SourceError
from ml_code.workspace import open_workspace
from mlops.commands.output import print_table
from mlops.commands.training import train_once
from mlops.endings import explained
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from ml_code.draft.drafting import Draft

SHOWN_COLUMNS = 30

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


@commands.command("schema")
def print_schema() -> None:
    """Print the JSON schema of a dataset's TOML file, for editors."""
    from ml_code.dataset_schema import render_schema

    typer.echo(render_schema(), nl=False)


@commands.command("add")
def add_dataset(  # noqa: PLR0917  one argument for each option
    file: Annotated[Path, typer.Argument(help="Table with a header: CSV (also .gz), Excel, ODS or Parquet.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset.", show_default="the file's name")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column with a unique value in each row.", show_default="a column named as an id, if any"),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression.", show_default="from the values of the target")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook.", show_default="its only one")] = None,
    bad_rows: Annotated[
        float, typer.Option(help="Largest accepted share of rows that cannot be read or have no target.", min=0, max=1)
    ] = 0.1,
    *,
    train: Annotated[bool, typer.Option("--train", help="Train a model on it too, with the defaults.")] = False,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Train a model and serve it; follow its rollout until it is served.")
    ] = False,
) -> None:
    """Make a dataset from a file: try it, upload its rows, and draft its TOML file, which you read and correct."""
    with explained(DataCheckError, SourceError):
        from ml_code.draft import adding
        from ml_code.draft.drafting import Request

        settings, request = load_host_settings(), Request(target, name, key, task, sheet, bad_rows)
        written, draft = adding.add_dataset(open_workspace(settings), file, request)
    console = Console(soft_wrap=True)
    console.print(draft.text, markup=False, highlight=False)
    _print_trial(draft, console)
    console.print(
        f"Written to {written}. Read it, and correct it where needed. Every form offers the dataset within 30 s."
    )
    if not train and not deploy:
        console.print(f"Then: mlops train --dataset {draft.dataset.name} --deploy", highlight=False)
        return
    with explained():
        train_once(settings, {"dataset": draft.dataset.name}, deploy=deploy)


def _print_trial(draft: Draft, console: Console) -> None:
    """Prints the first rows as the model reads them, a line for each column, and the counts."""
    shown = draft.preview.iloc[:, :SHOWN_COLUMNS]
    print_table(
        [
            {"column": str(name)[:24]}
            | {f"row {number}": _show_cell(cell) for number, cell in enumerate(cells, start=1)}
            for name, cells in zip(shown.columns, shown.to_numpy(dtype=object).T.tolist(), strict=True)
        ]
    )
    console.print(f"{draft.rows} rows read, {draft.rows - draft.bad_rows} kept, {draft.bad_rows} left out.")
    for row in draft.bad:
        place = f"line {row.line}, {row.column}" if row.column else f"line {row.line}"
        console.print(f"  {place}: {row.reason}", markup=False, highlight=False)


def _show_cell(cell: object) -> str | None:
    if cell is None or cell != cell:  # noqa: PLR0124  NaN differs from itself
        return None
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)[:10]


@commands.command("put")
def put_dataset(
    name: Annotated[str, typer.Argument(help="Dataset of the catalog; `mlops dataset list` lists them.")],
    file: Annotated[Path, typer.Argument(help="Table with a header: CSV (also .gz), Excel, ODS or Parquet.")],
) -> None:
    """Upload a file of new rows; the DAG minio_asset_example validates it, and a training follows."""
    with explained():
        from ml_code.data import intake

        uri = intake.put_file(open_workspace(load_host_settings()), name, file)
    console = Console(soft_wrap=True)
    console.print(f"Uploaded {uri}", highlight=False)
    console.print("The DAG minio_asset_example validates its rows within a minute. A training follows if they are new.")
