"""Rows of a person's file or JSON text as requests that the gateway takes, and the predictions for them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_code.cells import MISSING_MARKERS, clean_text
from mlops.errors import AnswerError, InputError
from mlops.gateway import LONGEST_TEXT, SHOWN, FeatureKind, Gateway, Note, RefusedRowsError

MAX_ROWS = 10_000
MAX_BODY_BYTES = 1_000_000
"""What the gateway takes in one request."""

LARGEST_CELL = 1_000_000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """One row as JSON, and where it stands, such as `line 7`."""

    body: bytes
    place: str


@dataclass(frozen=True, slots=True)
class Predicted:
    """The predictions for one request's rows, in order."""

    rows: Sequence[Sequence[Any]]
    header: Sequence[str]
    version: str


def read_csv(file: Path, features: Sequence[FeatureKind], say: Callable[[str], None]) -> Iterator[Source]:
    """The rows of a CSV file with a header, with the columns that the model reads.

    Raises:
        InputError: it is not such a file, or lacks a column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            csv.field_size_limit(LARGEST_CELL)
            yield from _read_rows(csv.reader(lines), file, features, say)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: found another encoding, expected UTF-8; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{file}: expected CSV, found: {error}; save it as CSV UTF-8 with commas") from error


def read_json(text: str) -> Iterator[Source]:
    """The rows of a JSON text: an object, or an array of rows.

    Raises:
        InputError: it is not JSON, or neither of them.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"rows: expected a file, or rows as JSON, found invalid JSON: {error}") from error
    rows = found if isinstance(found, list) else [found]
    if not rows or not all(isinstance(row, dict | list) for row in rows):
        raise InputError(
            'rows: expected a JSON object such as {"sepal_length": 5.1}, or an array of them, '
            f"found {text[:LONGEST_TEXT]}"
        )
    for number, row in enumerate(rows, start=1):
        yield Source(json.dumps(row, ensure_ascii=False).encode(), f"row {number}")


def split(rows: Iterable[Source], max_rows: int = MAX_ROWS, max_bytes: int = MAX_BODY_BYTES) -> Iterator[list[Source]]:
    """Groups rows into requests that the gateway takes; a row that is too large is a request alone."""
    batch: list[Source] = []
    size = 2  # the brackets
    for row in rows:
        if batch and (len(batch) == max_rows or size + len(row.body) + 1 > max_bytes):
            yield batch
            batch, size = [], 2
        batch.append(row)
        size += len(row.body) + 1
    if batch:
        yield batch


def predict_batch(
    gateway: Gateway, model: str, batch: Sequence[Source], warn: Callable[[str], None], *, with_probabilities: bool
) -> Predicted:
    """Asks the gateway for the predictions of one request's rows.

    Raises:
        AnswerError: the gateway refuses the rows; the message names them as the person does.
        NoAnswerError: the gateway does not answer.
    """
    body = b"[" + b",".join(row.body for row in batch) + b"]"
    try:
        answers = gateway.predict(model, body, with_probabilities=with_probabilities)
    except RefusedRowsError as error:
        raise AnswerError("\n".join([f"{error}", *_describe_notes(error.notes, batch)])) from error
    if len(answers.predictions) != len(batch):
        raise AnswerError(f"{model}: expected {len(batch)} predictions, found {len(answers.predictions)}; ask again")
    for line in _describe_notes(answers.warnings, batch):
        warn(line)
    if answers.probabilities is None:
        return Predicted([[value] for value in answers.predictions], ["prediction"], answers.version)
    classes = answers.classes or range(len(answers.probabilities[0]))
    rows = [[value, *shares] for value, shares in zip(answers.predictions, answers.probabilities, strict=True)]
    return Predicted(rows, ["prediction", *(f"probability_{name}" for name in classes)], answers.version)


def _read_rows(
    reader: Any, file: Path, features: Sequence[FeatureKind], say: Callable[[str], None]
) -> Iterator[Source]:
    header = next(reader, None)
    if header is None:
        raise InputError(f"{file}: found an empty file, expected a header and rows")
    names = [clean_text(name) for name in header]
    places = _find_columns(file, names, features, say)
    for cells in reader:
        if not cells:
            continue  # an empty line
        if len(cells) != len(names):
            raise InputError(
                f"{file}, line {reader.line_num}: found {len(cells)} cells, expected {len(names)} as in the header; "
                "fix the line"
            )
        row = {feature.name: read_cell(cells[place], feature) for feature, place in places}
        yield Source(json.dumps(row, ensure_ascii=False).encode(), f"line {reader.line_num}")


def _find_columns(
    file: Path, names: Sequence[str], features: Sequence[FeatureKind], say: Callable[[str], None]
) -> list[tuple[FeatureKind, int]]:
    """The place of each feature in the file."""
    wanted = {clean_text(feature.name): feature for feature in features}
    if twice := sorted({name for name in names if name in wanted and names.count(name) > 1}):
        raise InputError(f"{file}: found the column {_quote(twice)} twice, expected it once; rename one")
    if missing := [name for name in wanted if name not in names]:
        raise InputError(
            f"{file}: found no column {_quote(missing)} in the header, expected every column that the model reads: "
            f"{_quote(list(wanted))}"
        )
    if unknown := [name or "(no name)" for name in names if name not in wanted]:
        say(f"left out, as the model does not read them: {_quote(unknown)}")
    return [(feature, names.index(name)) for name, feature in wanted.items()]


def read_cell(text: str, feature: FeatureKind) -> object:
    """A cell as JSON has it; a text that is not a number stays a text, which the gateway refuses in its own words.

    >>> read_cell(" 5.10 ", FeatureKind("age", is_numeric=True))
    5.1
    """
    cell = clean_text(text)
    if not feature.is_numeric:
        return cell or None
    if cell in MISSING_MARKERS:
        return None
    if cell.lower() in {"true", "false"}:
        return cell.lower() == "true"
    if not _NUMBER.fullmatch(cell):
        return cell
    with suppress(ValueError):
        return int(cell)
    number = float(cell)
    return cell if number in {float("inf"), float("-inf")} else number


def _describe_notes(notes: Sequence[Note], batch: Sequence[Source]) -> list[str]:
    """One line for each of the first problems, by the place of its row in the person's input."""
    lines = []
    for note in notes[:SHOWN]:
        known = note.row is not None and 0 <= note.row < len(batch)
        place = batch[note.row].place if known and note.row is not None else "request"
        lines.append(f"  {place}{f', {note.field}' if note.field else ''}: {note.problem}")
    if len(notes) > SHOWN:
        lines.append(f"  and {len(notes) - SHOWN} more")
    return lines


def _quote(names: Sequence[str]) -> str:
    """The first names, short enough for a message."""
    text = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return text[:LONGEST_TEXT]
