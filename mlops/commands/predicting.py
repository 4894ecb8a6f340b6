"""`mlops predict`: asks the gateway for the predictions of a file, or of rows on the command line."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

from ml_code.datasets import load_catalog, load_dataset
from ml_code.errors import CatalogError, SourceError
from mlops.endings import explained
from mlops.errors import InputError
from mlops.host import load_host_settings

if TYPE_CHECKING:
    from ml_code.reading.rules import Reading
    from mlops.batches import Predicted

commands = typer.Typer()


@commands.command()
def predict(
    model: Annotated[str, typer.Argument(help="Model that serves; `mlops models` lists them.")],
    rows: Annotated[
        str, typer.Argument(help="Table as `dataset add` takes it, or a JSON object, or a JSON array of rows.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="File for the predictions.", show_default="standard output")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add a column with the probability of each class.")
    ] = False,
) -> None:
    """Predict the rows of a table, or of a JSON text, through the gateway; prints the predictions as CSV."""
    console = Console(stderr=True, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    with explained(InputError, SourceError):
        from mlops import batches
        from mlops.gateway import Gateway
        from serving.fleet.access import read_access

        settings = load_host_settings()
        refuse_stranger(model, settings.catalog_dir)
        reading = find_reading(model, settings.catalog_dir)
        with closing(Gateway(settings.gateway_url, read_access(settings))) as gateway, console.status("Predicting"):
            if rows.lstrip().startswith(("{", "[")):
                sources = batches.read_json(rows)
            else:
                sources = batches.read_table(Path(rows), gateway.list_features(model), reading, say)
            predicted = (
                batches.predict_batch(gateway, model, batch, say, with_probabilities=probabilities)
                for batch in batches.split(sources)
            )
            count, versions = write_predictions(predicted, output)
    shown = " and ".join(versions)
    say(f"{count} predictions of {model} version {shown}" + (f" in {output}" if output else ""))
    if len(versions) > 1:
        say("A rollout changed the version in between; run the command again for answers of one version.")


def write_predictions(predicted: Iterable[Predicted], output: Path | None) -> tuple[int, list[str]]:
    """Writes CSV with a header; returns the number of rows and the versions that answered."""
    count, versions = 0, dict[str, None]()
    with _open(output) as target:
        writer = csv.writer(target, lineterminator="\n")
        for part in predicted:
            if not count:
                writer.writerow(part.header)
            writer.writerows(part.rows)
            count += len(part.rows)
            versions[part.version] = None
    return count, list(versions)


def refuse_stranger(model: str, catalog_dir: Path | None) -> None:
    """Refuses a name that is not a model of the catalog.

    Raises:
        CatalogError: it is not.
    """
    names = load_catalog(catalog_dir).list_models()
    if model not in names:
        raise CatalogError(f"model: found {model[:100]!r}, expected one of {', '.join(names)}; choose one of these")


def find_reading(model: str, catalog_dir: Path | None) -> Reading:
    """How the files of a model's dataset are written: a file of rows to predict is one of these.

    Raises:
        CatalogError: the dataset's file cannot be used.
    """
    return load_dataset(load_catalog(catalog_dir).list_models()[model], catalog_dir).reading


@contextmanager
def _open(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is complete."""
    if output is None:
        yield sys.stdout
        return
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as target:
            yield target
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
