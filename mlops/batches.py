"""Rows of a person's file or JSON text as requests that the gateway takes, and the predictions for them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_code.cells import TRUTHS, clean_text, name_category
from ml_code.reading.numbers import read_number
from ml_code.reading.rules import Reading
from ml_code.reading.table import open_table
from mlops.errors import AnswerError, InputError
from mlops.gateway import LONGEST_TEXT, SHOWN, FeatureKind, Gateway, Note, RefusedRowsError
from serving.limits import MAX_BODY_BYTES, MAX_ROWS


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


def read_table(
    file: Path, features: Sequence[FeatureKind], reading: Reading, say: Callable[[str], None]
) -> Iterator[Source]:
    """The rows of a person's table as its dataset's files are read, with the columns that the model reads.

    Raises:
        SourceError: it is not a table, or is written in another way.
        InputError: it lacks a column, or a line is not a row.
    """
    with file.open("rb") as stream:
        records = open_table(stream, file.name, reading, [feature.name for feature in features])
        columns = _find_columns(file, records.header, features, say)
        for block in records:
            if block.bad:
                bad = block.bad[0]
                raise InputError(
                    f"{file}, line {bad.line}: found an invalid row, expected cells as in the header: "
                    f"{bad.reason[:LONGEST_TEXT]}; fix the line"
                )
            cells = [[read_cell(text, feature, reading) for text in block.frame[name]] for name, feature in columns]
            for line, *row in zip(block.lines, *cells, strict=True):
                named = {feature.name: cell for (_, feature), cell in zip(columns, row, strict=True)}
                yield Source(json.dumps(named, ensure_ascii=False).encode(), f"line {line}")


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
        yield Source(json.dumps(row).encode(), f"row {number}")


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


def read_cell(text: object, feature: FeatureKind, reading: Reading) -> object:
    """A cell as JSON has it; a text that is not a number stays a text, which the gateway refuses in its own words.

    >>> read_cell(" 1,500 ", FeatureKind("price", is_numeric=True), Reading(thousands=","))
    1500
    """
    cell = clean_text(text) if isinstance(text, str) else ""
    markers = reading.list_markers(feature.name, is_number=feature.is_numeric)
    if not cell or (cell in markers if feature.is_numeric else name_category(cell) in set(map(name_category, markers))):
        return None
    if not feature.is_numeric:
        return cell
    if cell.lower() in TRUTHS:
        return cell.lower() == "true"
    number = read_number(cell, reading.find_form(feature.name), markers)
    if number is None or not math.isfinite(number):
        return cell
    return int(number) if number.is_integer() else number


def _find_columns(
    file: Path, header: Sequence[str], features: Sequence[FeatureKind], say: Callable[[str], None]
) -> list[tuple[str, FeatureKind]]:
    """The name of each feature in the file."""
    wanted = {clean_text(feature.name): feature for feature in features}
    if missing := [name for name in wanted if name not in header]:
        raise InputError(
            f"{file}: found no column {_quote(missing)} in the header, expected every column that the model reads: "
            f"{_quote(list(wanted))}"
        )
    if unknown := [name for name in header if name not in wanted]:
        say(f"left out, as the model does not read them: {_quote(unknown)}")
    return list(wanted.items())


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
