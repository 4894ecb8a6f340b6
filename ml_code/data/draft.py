"""Drafts the TOML file of a new dataset from a CSV file; a person corrects it."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ml_code.data.validation import LARGEST_NUMBER, WHOLE_NUMBER, read_texts
from ml_code.datasets import CATALOG, Dataset, describe_problems
from ml_code.errors import CatalogError, DataCheckError, SourceError
from ml_code.families import Task
from ml_code.places import make_source_key
from ml_code.reading.csv_records import CsvRecords
from ml_code.workspace import Workspace

MOST_CATEGORIES = 50
"""A text column with more values counts as names or remarks, and is left out."""

MOST_CLASSES = 20
"""A target of whole numbers with more values counts as a quantity."""

LEAST_R2 = 0.1

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Draft:
    """A dataset's TOML file, its dataset, and the reason for each column that is left out."""

    text: str
    dataset: Dataset
    left_out: dict[str, str]


def add_dataset(
    workspace: Workspace,
    path: Path,
    target: str,
    *,
    name: str | None = None,
    key: str | None = None,
    task: str | None = None,
) -> tuple[Path, Draft]:
    """Uploads a CSV file as the source of a new dataset, and writes the dataset's TOML file.

    Returns:
        Path of the TOML file, and the draft.

    Raises:
        CatalogError: the name is taken or invalid, or the TOML file cannot be written.
        SourceError: there is no such file, or it is not a CSV file with rows.
        DataCheckError: the target or key is not among its columns, or no column can be learned from.
        StorageError: the file cannot be read, or the store refuses.
    """
    settings = workspace.settings
    name = name or path.name.partition(".")[0].lower()
    draft = draft_dataset(path, target, name=name, key=key, task=task)
    catalog = workspace.catalog
    file = (settings.catalog_dir or CATALOG) / f"{name}.toml"
    if name in catalog.datasets or file.exists():
        raise CatalogError(f"dataset {name}: found {file}, expected a new name; choose another by --name, or remove it")
    # The TOML file appears after its rows: without rows, every DAG of it would fail. A full disk refuses it first.
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        raise CatalogError(
            f"{file}: found {error.strerror}, expected to write it; free the disk, or correct the folder's permissions"
        ) from error
    try:
        workspace.storage.upload(path, workspace.places.locate_object(draft.dataset.source.key))  # type: ignore[union-attr]
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file, draft


def draft_dataset(path: Path, target: str, *, name: str, key: str | None = None, task: str | None = None) -> Draft:
    """Infers task, types and ranges from all rows of a CSV file.

    Raises:
        CatalogError: the name is not an identifier.
        SourceError: there is no such file, or it is not a CSV file with rows.
        DataCheckError: the target or key is not among its columns, or no column can be learned from.
    """
    if not path.is_file():
        raise SourceError(f"{path}: found no file, expected a CSV file; correct the path")
    with path.open("rb") as stream:
        records = CsvRecords(stream, path.name)
        _refuse_header(path, records.header, target, key)
        frame = pd.concat([block.frame for block in records], ignore_index=True).apply(read_texts)
    key = key or _find_key(frame, target)
    left_out: dict[str, str] = {}
    numeric: dict[str, pd.Series] = {}
    categorical: list[str] = []
    for column in frame.columns.drop([target, *([key] if key else [])]):
        values = frame[column].nunique()
        if values < 2:
            left_out[column] = "it has one value"
        elif (numbers := _to_numbers(frame[column])) is not None:
            numeric[column] = numbers
        elif values <= MOST_CATEGORIES and values * 2 <= len(frame):
            categorical.append(column)
        else:
            left_out[column] = f"it is text with {values} values"
    if not numeric and not categorical:
        raise DataCheckError(
            f"{path}: found no column to learn from ({_describe(left_out)}), expected numbers or categories; "
            "bring another file"
        )
    task = task or _choose_task(frame[target])
    text = _write_toml(path, name, task, target, key, frame, numeric, categorical, left_out)
    try:
        return Draft(text, Dataset.model_validate(tomllib.loads(text)), left_out)
    except ValidationError as error:
        raise CatalogError(
            f"dataset {name} from {path}: {describe_problems(error)}; choose another name by --name, or fix the file"
        ) from error


def _refuse_header(path: Path, header: list[str], target: str, key: str | None) -> None:
    if odd := [column for column in header if not IDENTIFIER.fullmatch(column)]:
        raise DataCheckError(
            f"{path}: found the columns {', '.join(map(repr, odd))}, expected names of letters, digits and _ "
            "that do not begin with a digit; rename them in the first line of the file"
        )
    for option, column in (("--target", target), ("--key", key)):
        if column is not None and column not in header:
            raise DataCheckError(
                f"{option}: found {column!r}, expected one of {', '.join(header)}; choose one of these"
            )


def _find_key(frame: pd.DataFrame, target: str) -> str | None:
    """The first column whose name is that of an id, and whose values are unique."""
    for column in frame.columns.drop(target):
        if re.search(r"(^|_)id$|[a-z]I[dD]$", column) and frame[column].notna().all() and frame[column].is_unique:
            return str(column)
    return None


def _to_numbers(cells: pd.Series) -> pd.Series | None:
    """The column as float64; None if a cell is not a number that float32 holds."""
    present = cells.dropna()
    numbers = pd.to_numeric(present, errors="coerce").astype("float64")
    return numbers if len(numbers) and (numbers.abs() <= LARGEST_NUMBER).all() else None


def _choose_task(cells: pd.Series) -> Task:
    numbers = _to_numbers(cells)
    if numbers is None:
        return "classification"
    is_quantity = (numbers % 1 != 0).any() or cells.nunique() > MOST_CLASSES
    return "regression" if is_quantity else "classification"


def _write_toml(  # noqa: PLR0917  one argument for each part of the file
    path: Path,
    name: str,
    task: str,
    target: str,
    key: str | None,
    frame: pd.DataFrame,
    numeric: dict[str, pd.Series],
    categorical: list[str],
    left_out: dict[str, str],
) -> str:
    lines = [
        f"# Drafted from {len(frame)} rows of {path.name}: read and correct it.",
        *[f"# Left out: {column}, because {reason}." for column, reason in left_out.items()],
        f"name = {_quote(name)}",
        f"task = {_quote(task)}",
        f"target = {_quote(target)}",
        f"numeric = [{', '.join(map(_quote, numeric))}]",
        f"categorical = [{', '.join(map(_quote, categorical))}]",
        *([f"key = {_quote(key)}"] if key else []),
        "",
        "[source]",
        'kind = "s3"',
        f"key = {_quote(make_source_key(name, ''.join(path.suffixes)))}",
        "",
        "[checks]",
        "bad_rows_share = 0.1",
        "",
        "# Each range is the observed one, extended by its width on either side.",
        "[checks.columns]",
    ]
    for column, numbers in numeric.items():
        minimum, maximum = _widen(numbers)
        lines.append(f"{column} = {{ minimum = {minimum!r}, maximum = {maximum!r} }}")
    if task == "classification":
        labels = _list_labels(frame[target])
        lines.append(f"{target} = {{ allowed = [{', '.join(labels)}] }}")
        share = frame[target].value_counts(normalize=True).iloc[0]
        metric, threshold = "accuracy", min(math.ceil(share * 100) / 100, 0.99)
        reason = "the score of always predicting the most frequent class"
    else:
        metric, threshold, reason = "r2", LEAST_R2, "little more than the score of always predicting the mean"
    lines += ["", "[gate]", f'metric = "{metric}"', f"# This is {reason}: raise it.", f"threshold = {threshold!r}"]
    return "\n".join(lines) + "\n"


def _widen(numbers: pd.Series) -> tuple[float, float]:
    """The observed range, extended by its width on either side; a range without negative values gets none."""
    low, high = float(numbers.min()), float(numbers.max())
    margin = high - low
    exponent = math.floor(math.log10(margin)) if margin else 0
    minimum = round(math.floor((low - margin) / 10.0**exponent) * 10.0**exponent, -exponent)
    maximum = round(math.ceil((high + margin) / 10.0**exponent) * 10.0**exponent, -exponent)
    return (0.0 if low >= 0 else minimum), maximum


def _list_labels(cells: pd.Series) -> list[str]:
    """The labels as TOML; whole numbers are numbers, as in the responses of `/predict`."""
    labels: list[Any] = cells.dropna().unique().tolist()
    if all(re.fullmatch(WHOLE_NUMBER, label) for label in labels):
        return [str(label) for label in sorted(map(int, labels))]
    return [_quote(label) for label in sorted(labels)]


def _quote(text: str) -> str:
    """A TOML string: JSON's escapes are a part of TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _describe(left_out: dict[str, str]) -> str:
    return ", ".join(f"{column}: {reason}" for column, reason in left_out.items()) or "only the target"
