"""Public tables from file to an answer over HTTP without an edit, beside the pipeline of a person who knows them.

Usage: DATASETS_DIR=FOLDER python -m tests.benchmarks.tables [part of a name ...]

The packages of the tables are fetched into a temporary folder, or into the one that TABLES_DIR names. Each row is
held out for both, or for none. Where the scores of two single forests are far apart, the means of five forests count.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd

from ml_code.draft.drafting import make_name
from ml_code.errors import MlopsError
from ml_code.workspace import Workspace
from tests.benchmarks.tables.answers import ask_replicas
from tests.benchmarks.tables.loop import Trained, open_folder, score_again, train_table
from tests.benchmarks.tables.person import score_person
from tests.benchmarks.tables.public_tables import PublicTable, fetch_tables, list_tables
from tests.benchmarks.tables.report import LARGEST_LOSS, REJECTED, Result, write_report

SEED = range(42, 43)
"""The product's own."""

MORE_SEEDS = range(42, 47)


def main() -> None:
    """Takes each table through, one at a time, and prints the report."""
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:]
    tables = [table for table in list_tables() if not wanted or any(part in table.name for part in wanted)]
    with tempfile.TemporaryDirectory(prefix="tables-") as name:
        folder = Path(name)
        places = fetch_tables(tables, Path(os.environ.get("TABLES_DIR", folder / "packages")))
        results: dict[str, Result] = {}
        trained: dict[str, Trained] = {}
        with contextlib.chdir(folder):  # MLflow writes its files beside SQLite's
            workspace = open_folder(folder)
            for number, table in enumerate(tables):
                model = f"{make_name(Path(table.file))}_{number}"
                results[model] = _run(workspace, model, places[table.package] / table.file, table, trained)
                _show(results[model])
        for model, problem in ask_replicas(folder, trained).items():
            results[model].problem = results[model].problem or problem
    print(write_report([*results.values()]))


def _run(workspace: Workspace, model: str, file: Path, table: PublicTable, trained: dict[str, Trained]) -> Result:
    """Runs one table through product and person."""
    result = Result(table)
    started = time.perf_counter()
    try:
        made = train_table(workspace, model, file, table)
        result.seconds = time.perf_counter() - started
        result.draft, result.rows, result.metric, result.product = made.draft, made.rows, made.metric, made.score
        result.problem = "" if made.is_promoted else f"{REJECTED}{made.verdict}"
        trained[model] = made
        _compare(result, made, file)
    except MlopsError as error:
        result.problem = str(error).replace(str(file), file.name)
    except Exception as error:  # a traceback of one table is a result, and the others are still run
        result.problem = f"traceback: {error!r}"
    return result


def _compare(result: Result, made: Trained, file: Path) -> None:
    """Scores the person's pipeline on the product's rows."""
    table, frame = result.table, pd.read_csv(file)
    result.person_columns = [*table.choose_numeric(frame), *table.categorical]
    if not result.is_same_task:
        return
    rows = (made.sides, made.metric)
    result.person = score_person(table, frame, *rows, SEED)
    if result.difference is not None and abs(result.difference) > LARGEST_LOSS:
        result.product = score_again(made, MORE_SEEDS)
        result.person = score_person(table, frame, *rows, MORE_SEEDS)


def _show(result: Result) -> None:
    """Prints a result at once, because a whole run takes many minutes."""
    scores = "" if result.product is None else f"{result.metric} {result.product:.3f}, person {result.person}"
    print(f"{result.table.name}: {result.seconds:.0f} s {scores} {result.problem[:600]}", file=sys.stderr, flush=True)
    for note in result.draft.notes if result.draft else ():
        print(f"    {note}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
