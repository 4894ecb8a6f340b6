"""Drafts a dataset from a file, and tries it as intake and training will before anything is written."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from ml_code.data.holdout import split_holdout
from ml_code.data.validation import check_rows, narrow_target, refuse_too_many_bad
from ml_code.datasets import Dataset, describe_problems
from ml_code.draft.columns import MISSING_NOTE, Judged, judge_column
from ml_code.draft.leakage import find_copies, find_deciders, find_sums
from ml_code.draft.remarks import describe_groups
from ml_code.draft.table import Table, read_table
from ml_code.draft.target import judge_target
from ml_code.draft.writing import Outline, write_toml
from ml_code.errors import CatalogError, DataCheckError
from ml_code.places import make_source_key
from ml_code.reading.blocks import BadRow
from ml_code.reading.grammar import SHOWN_HEADER, clean_name

DECIMAL_COMMA = r"[^0-9]{0,4}[0-9.]*,(?:[0-9]{1,2}|[0-9]{4,})[^0-9]{0,4}"
"""Not three digits: 450,000 may have a sign for thousands."""

MOST_NOTES = 5

SHOWN_ROWS = 10

PREVIEW_ROWS = 5

CHECKED_ROWS = 100_000
"""Rows that are checked at once, so that a large table fits the memory."""

TRIED_ROWS = 20_000
"""Most rows for the trial of the split: with more of them no side lacks a class."""

FEW_ROWS = 1000
"""With fewer rows the holdout is small, and the gate's figures are rough."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for; None: drafted."""

    target: str
    name: str | None = None
    key: str | None = None
    task: str | None = None
    sheet: str | None = None
    bad_rows_share: float = 0.1


@dataclass(frozen=True, slots=True)
class Draft:
    """A dataset's TOML file, its dataset, and what was tried.

    `left_out` has the reason for each column, `bad` the first invalid lines, `preview` rows as the model reads them.
    """

    text: str
    dataset: Dataset
    left_out: dict[str, str]
    rows: int
    bad_rows: int
    bad: Sequence[BadRow]
    notes: Sequence[str]
    preview: pd.DataFrame


def draft_dataset(path: Path, request: Request) -> Draft:
    """Infers reading, task and types from all rows of a file, and checks the rows against the result.

    Raises:
        CatalogError: the name is not an identifier.
        SourceError: there is no such file, or it is not a table.
        DataCheckError: the target or key is not among its columns, or no column can be learned from.
        DataCheckError: too many rows are invalid, or training would refuse the rows.
    """
    request = replace(request, target=clean_name(request.target), key=request.key and clean_name(request.key))
    table = read_table(path, request.target, request.key, request.sheet)
    shown = [f"line {row.line}: {row.reason}" for row in table.bad[:3]]
    rows = len(table.frame) + table.bad_rows
    refuse_too_many_bad(str(path), shown, table.bad_rows, rows, request.bad_rows_share)
    _refuse_columns(table, request)
    outline = _outline(path, table, request)
    text = write_toml(outline)
    try:
        dataset = Dataset.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise CatalogError(
            f"dataset {outline.name[:100]} from {path}: {describe_problems(error)}; "
            "choose another name by --name, or fix the file"
        ) from error
    return _try(path, table, dataset, outline, text)


def _refuse_columns(table: Table, request: Request) -> None:
    header = list(table.frame.columns)
    for option, column in (("--target", request.target), ("--key", request.key)):
        if column is not None and column not in header:
            _refuse_unsplit(option, column, header)
            alike = difflib.get_close_matches(column, header)
            found = ", ".join([*alike, *(name for name in header if name not in alike)])[:SHOWN_HEADER]
            raise DataCheckError(f"{option}: found {column[:50]!r}, expected one of {found}; choose one of these")
    if request.key is not None:
        cells = table.frame[request.key]
        if not cells.is_unique or cells.isna().any():
            raise DataCheckError(
                f"--key: found {cells.nunique()} different values of {request.key} in {len(cells)} rows and "
                f"{int(cells.isna().sum())} missing ones, expected one for each row; choose another key, or none"
            )


def _refuse_unsplit(option: str, column: str, header: Sequence[str]) -> None:
    """Refuses a file whose fields are not told apart: the name is a part of the only column's, or in other quotes."""
    if len(header) == 1 and column in re.split(r"[\W_]+", header[0]):
        raise DataCheckError(
            f"{option}: found one column, {header[0][:SHOWN_HEADER]!r}, expected fields between commas, semicolons, "
            f"tabs or pipes, and {column[:50]!r} as one of them; save the file with commas"
        )
    if f"'{column}'" in header:
        raise DataCheckError(
            f"{option}: found names in single quotes, such as {header[0][:50]}, expected double quotes or none; "
            "save the file with double quotes"
        )


def _outline(path: Path, table: Table, request: Request) -> Outline:
    frame = table.frame
    prefers_comma = _has_decimal_commas(frame)
    judged: dict[str, Judged] = {}
    for name in frame.columns.drop(request.target):
        if name != request.key:
            judged[name] = judge_column(name, frame[name], prefers_comma=prefers_comma)
            if judged[name].kind == "categorical":
                frame[name] = judged[name].cells  # so that the texts are in memory once
    invalid = np.concatenate([np.empty(0, np.int64), *(column.invalid for column in judged.values())])
    labels = frame[request.target]
    if len(invalid):
        # An invalid row, such as a note below the table, has neither a class nor a category.
        labels = labels.drop(np.unique(invalid))
        judged |= {
            name: _judge_again(name, frame[name], invalid, prefers_comma=prefers_comma)
            for name, column in judged.items()
            if column.kind == "categorical"
        }
    target = judge_target(request.target, labels, request.task, prefers_comma=prefers_comma)
    target = replace(target, cells=target.cells.reindex(frame.index))
    features, left_out, key, group = _choose_columns(judged, request.key)
    copies = find_copies(target.cells, {name: column.cells for name, column in features.items()})
    if len(copies) < len(features):
        left_out |= copies
        features = {name: column for name, column in features.items() if name not in copies}
    if not features:
        described = ", ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "only the target"
        raise DataCheckError(
            f"{path}: found no column to learn from ({described[:200]}), expected numbers or categories; "
            "bring another file"
        )
    notes = [*table.notes, *target.notes, *_join_notes(features)]
    cells = {name: column.cells for name, column in features.items()}
    notes += [*find_deciders(target.cells, cells), *find_sums(target.cells, cells)]
    name = request.name or make_name(path)
    return Outline(
        name=name,
        file=path.name,
        rows=len(frame) + table.bad_rows,
        target_name=request.target,
        target=target,
        key=key,
        group=group,
        features=features,
        left_out=left_out,
        notes=notes,
        source_key=make_source_key(name, "".join(path.suffixes[-2:])),
        reading=table.reading,
        bad_rows_share=request.bad_rows_share,
    )


def _judge_again(name: str, cells: pd.Series, invalid: npt.NDArray[np.int64], *, prefers_comma: bool) -> Judged:
    """Judges a category without the invalid rows, whose index values are given."""
    judged = judge_column(name, cells.drop(np.unique(invalid)), prefers_comma=prefers_comma)
    return replace(judged, cells=judged.cells.reindex(cells.index))


def _join_notes(features: Mapping[str, Judged]) -> list[str]:
    """The notes of the columns; missing values of many columns are one note."""
    notes = [note for column in features.values() for note in column.notes]
    missing = [name for name, column in features.items() if any(MISSING_NOTE in note for note in column.notes)]
    if len(missing) <= MOST_NOTES:
        return notes
    shown = ", ".join(missing[:MOST_NOTES])
    joined = f"{len(missing)} columns{MISSING_NOTE}, such as NA: {shown} and others."
    return [*(note for note in notes if MISSING_NOTE not in note), joined]


def make_name(path: Path) -> str:
    """A dataset's name from the name of a file: its Latin letters and digits in lower case, joined by _.

    >>> make_name(Path("2026 Sales (final).csv"))
    't_2026_sales_final'
    """
    name = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_") or "table"
    return name if name[0].isalpha() else f"t_{name}"


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    """Whether a column of texts shows numbers with a decimal comma, such as 12,5."""
    for name in frame.columns:
        if pd.api.types.is_string_dtype(frame[name]):
            sample = frame[name].dropna().iloc[:1000]
            if len(sample) and sample.str.fullmatch(DECIMAL_COMMA).mean() > 0.2:
                return True
    return False


def _choose_columns(
    judged: Mapping[str, Judged], key: str | None
) -> tuple[dict[str, Judged], dict[str, str], str | None, str | None]:
    """The features, the reason for each column that is left out, the key and the group."""
    features = {name: column for name, column in judged.items() if column.kind in {"numeric", "categorical"}}
    left_out = {name: column.reason for name, column in judged.items() if column.kind == "left out"}
    keys = [name for name, column in judged.items() if column.kind == "key"]
    groups = [name for name, column in judged.items() if column.kind == "group"]
    chosen = key or next(iter(keys), None)
    left_out |= {name: judged[name].reason for name in keys if name != chosen}
    left_out |= {name: judged[name].reason for name in groups[1:]}
    if not features:
        # A number of the row is better than nothing, where it is all that there is.
        numbering = {n: replace(c, kind="numeric") for n, c in judged.items() if c.reason.startswith("it numbers")}
        features, left_out = numbering, {name: reason for name, reason in left_out.items() if name not in numbering}
    return features, left_out, chosen, next(iter(groups), None)


def _try(path: Path, table: Table, dataset: Dataset, outline: Outline, text: str) -> Draft:
    """Checks the rows and splits them, as intake and training will."""
    bad, tried, invalid = list(table.bad), pd.DataFrame(), 0
    for start in range(0, len(table.frame), CHECKED_ROWS):
        checked = check_rows(dataset, table.frame.iloc[start : start + CHECKED_ROWS][dataset.columns])
        bad += [BadRow(line, cell.column, cell.reason, "") for line, cell in checked.bad.items()]
        invalid += len(checked.bad)
        tried = _thin_out(dataset, pd.concat([tried, checked.good]))
    bad.sort(key=lambda row: row.line)
    bad_rows = table.bad_rows + invalid
    shown = [f"line {row.line}: {row.column}: {row.reason}".replace(": : ", ": ") for row in bad[:3]]
    try:
        refuse_too_many_bad(str(path), shown, bad_rows, outline.rows, dataset.checks.bad_rows_share)
    except DataCheckError as error:
        more = f"{min(1.0, bad_rows / outline.rows + 0.05):.2f}"
        raise DataCheckError(f"{error}; or accept more of them by --bad-rows, such as --bad-rows {more}") from error
    tried = narrow_target(dataset, tried)
    notes = [*outline.notes, *_describe_bad(bad, bad_rows), *_try_split(dataset, tried, outline.rows - bad_rows)]
    notes += describe_groups(dataset, table.frame)
    preview = tried.sort_index()[dataset.columns].head(PREVIEW_ROWS)
    return Draft(text, dataset, dict(outline.left_out), outline.rows, bad_rows, bad[:SHOWN_ROWS], notes, preview)


def _thin_out(dataset: Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """The first rows of each class, or of all rows in a regression: enough for a trial of the split."""
    if dataset.task == "regression":
        return rows.head(TRIED_ROWS)
    return rows.groupby(dataset.target, sort=False).head(TRIED_ROWS // max(1, rows[dataset.target].nunique()))


def _describe_bad(bad: Sequence[BadRow], bad_rows: int) -> list[str]:
    if not bad_rows:
        return []
    counts = Counter(_explain_bad(row) for row in bad if row.column)
    return [f"{count} row(s) are left out, because {reason}." for reason, count in counts.most_common(5)]


def _explain_bad(row: BadRow) -> str:
    found, is_expected, expected = row.reason.rpartition(", expected ")
    return f"{row.column}: {expected} was expected" if is_expected else f"{row.column}: {found or expected}"


def _try_split(dataset: Dataset, tried: pd.DataFrame, rows: int) -> list[str]:
    """What the split tells; raises what training would raise."""
    split = split_holdout(dataset, tried)
    notes = []
    if split.unheld_classes:
        labels = ", ".join(str(label)[:40] for label in split.unheld_classes[:5])
        notes.append(f"No row is held out of the class {labels}, so no figure sees it; bring more rows of it.")
    if rows < FEW_ROWS:
        held_out = f"{len(split.holdout)} of {rows} rows are held out"
        notes.append(f"{held_out}, so each figure is rough; bring more rows if you can.")
    return notes
