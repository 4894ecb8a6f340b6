"""Judges each column of a table: a number, a category, the key, a group, or left out for a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.cells import LABEL_MARKERS, MISSING_MARKERS
from ml_code.data.validation import LARGEST_NUMBER, read_texts
from ml_code.draft import names
from ml_code.reading.numbers import PLAIN, read_number, read_numbers, recognize_form
from ml_code.reading.rules import NumberForm

MOST_CATEGORIES = 50
"""A text column with more values counts as names or remarks, and is left out."""

MOST_CODES = 200
"""The same for codes with leading zeros, such as zip codes, and for texts with ten rows each."""

NUMBERS_SHARE = 0.9
"""Least share of numbers in a column of numbers; its other cells make their rows invalid."""

SAMPLED_TEXTS = 5000

MISSING_NOTE = " with missing values"

_TIME = r"[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?(?:Z|[+-][0-9:]+)?"
_YEAR_FIRST = r"[12][0-9]{3}[-/.년] ?[01]?[0-9](?:[-/.월] ?[0-3]?[0-9]일?|월)?"
_YEAR_LAST = r"[0-3]?[0-9][-/.][0-3]?[0-9][-/.](?:[12][0-9])?[0-9]{2}"
_MONTH_NAME = r"(?:[0-3]?[0-9][-/ ])?[A-Za-z]{3,9}[-/ ,.]+(?:[0-3]?[0-9],? )?(?:[12][0-9])?[0-9]{2}"
DATE = re.compile(rf"(?:{_YEAR_FIRST}|{_YEAR_LAST}|{_MONTH_NAME})(?:[T ,]+{_TIME})?|{_TIME}")
"""A date, a month or a time of day, as people write them."""

type Kind = Literal["numeric", "categorical", "key", "group", "left out"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a column is, and why; `cells` are its numbers (float64) or canonical texts."""

    kind: Kind
    cells: pd.Series
    reason: str = ""
    form: NumberForm = PLAIN
    notes: list[str] = field(default_factory=list)


def judge_column(name: str, cells: pd.Series, *, prefers_comma: bool = False) -> Judged:
    """Judges one column by its cells and its name.

    Args:
        name: of the column.
        cells: float64 or texts, missing ones as None or NaN.
        prefers_comma: whether the file has decimal commas elsewhere.
    """
    values = cells.nunique()
    if values < 2:
        return Judged("left out", cells, "it has one value" if values else "it is empty")
    if pd.api.types.is_float_dtype(cells):
        return _judge_numbers(name, Judged("numeric", cells))
    texts = read_texts(cells)
    counts = texts.value_counts()
    distinct = pd.Series(counts.index, dtype="str")
    if names.is_identifier(name) and len(distinct) == len(texts):
        return Judged("key", texts, "it identifies a row")
    if reason := _find_text_reason(distinct):
        return Judged("left out", texts, reason)
    is_digits = distinct.str.fullmatch(r"[0-9]+").mean() > NUMBERS_SHARE
    is_code = bool(is_digits and distinct.str.fullmatch(r"0[0-9]+").any())
    if not is_code:
        form = recognize_form(distinct.iloc[:SAMPLED_TEXTS], MISSING_MARKERS, prefers_comma=prefers_comma)
        if (notes := _find_number_notes(name, distinct, counts.to_numpy(), form)) is not None:
            found = read_numbers(texts, form, MISSING_MARKERS)
            is_bad = found.is_bad | (found.numbers.abs() > LARGEST_NUMBER)
            return _judge_numbers(name, Judged("numeric", found.numbers.where(~is_bad), form=form, notes=notes))
    return _judge_texts(name, texts, is_code=is_code)


def _find_number_notes(
    name: str, distinct: pd.Series, counts: npt.NDArray[np.integer[Any]], form: NumberForm
) -> list[str] | None:
    """What to say of a column of numbers; None if it has too many other cells, or one number."""
    found = read_numbers(distinct, form, MISSING_MARKERS)
    is_bad = found.is_bad | (found.numbers.abs() > LARGEST_NUMBER)
    numbers = found.numbers.where(~is_bad)
    is_marker = distinct.isin(MISSING_MARKERS)
    good, present = int(counts[numbers.notna()].sum()), int(counts[~is_marker].sum())
    are_numbers = good == present or (good >= NUMBERS_SHARE * present and len(distinct) > MOST_CATEGORIES)
    if numbers.nunique() < 2 or not are_numbers:
        return None
    notes = []
    if form != PLAIN:
        example = next(text for text in distinct[numbers.notna()])
        number = read_number(example, form, MISSING_MARKERS)
        notes.append(f"{name}: {example[:40]!r} is read as {number:.15g}.")
    if is_marker.any():
        markers = ", ".join(sorted(distinct[is_marker]))
        notes.append(f"{name}: {counts[is_marker].sum()} cell(s){MISSING_NOTE} ({markers}).")
    if is_bad.any():
        example = str(distinct[is_bad].iloc[0])
        notes.append(
            f"{name}: {counts[is_bad].sum()} cell(s) of {counts.sum()} are not numbers, such as {example[:40]!r}."
        )
    return notes


def _find_text_reason(distinct: pd.Series) -> str | None:
    """Why a column of texts is neither numbers nor categories."""
    sample = distinct.iloc[:SAMPLED_TEXTS]
    if sample.str.fullmatch(DATE.pattern).mean() > NUMBERS_SHARE:
        return f"it is a date or time, such as {sample.iloc[0]!r}; make numbers of it, such as a weekday or an age"
    if (sample.str.fullmatch(r"-?[0-9]+").mean() > NUMBERS_SHARE) and sample.str.len().max() > 15:
        return "it is an identifier of many digits"
    return None


def _judge_texts(name: str, texts: pd.Series, *, is_code: bool) -> Judged:
    values, rows = texts.nunique(), int(texts.notna().sum())
    if names.is_unnamed(name) and values == len(texts):
        return Judged("left out", texts, "it has no name and differs in each row")
    if names.may_repeat(name) and MOST_CATEGORIES < values < rows:
        return Judged("group", texts, f"it repeats for {values} persons or contracts")
    is_repeated = values * 3 <= rows * 2 if is_code else values * (2 if values <= MOST_CATEGORIES else 10) <= rows
    if values <= MOST_CODES and is_repeated:
        notes = [f"{name}: it is a category, because leading zeros mean a code."] if is_code else []
        return Judged("categorical", texts, notes=[*notes, *_describe_markers(name, texts)])
    return Judged("left out", texts, _explain_text(texts, values, rows, is_code=is_code))


def _describe_markers(name: str, texts: pd.Series) -> list[str]:
    """Says that a marker of a missing number is a category here, and how to change that."""
    markers = sorted({marker for marker in texts.dropna().unique() if marker in LABEL_MARKERS})
    if not markers:
        return []
    count, known = int(texts.isin(markers).sum()), ", ".join(f'"{marker}"' for marker in markers)
    return [f"{name}: {count} cell(s) are the text {known}; to make them missing, set missing = [{known}] for it."]


def _explain_text(texts: pd.Series, values: int, rows: int, *, is_code: bool) -> str:
    if is_code:
        return f"it has {values} codes with leading zeros"
    numbers = read_numbers(texts, PLAIN, MISSING_MARKERS)
    if (numbers.numbers.abs() > LARGEST_NUMBER).any():
        return f"it has numbers beyond {LARGEST_NUMBER:.2g}, with which no model can compute"
    if not numbers.is_bad.any() or numbers.numbers.notna().sum() <= rows / 2:
        return f"it is text with {values} values"
    example = str(texts[numbers.is_bad].iloc[0])
    return f"in {int(numbers.is_bad.sum())} of {rows} cells it is not a number, such as {example[:40]!r}"


def _judge_numbers(name: str, judged: Judged) -> Judged:
    numbers = judged.cells
    present = numbers.dropna()
    kind: Kind = "numeric"
    reason = ""
    if (present % 1 == 0).all():
        kind, reason = _judge_whole_numbers(name, present, judged.form, has_gaps=len(present) < len(numbers))
    if kind == "categorical":
        return Judged(
            kind, read_texts(numbers), notes=[f"{name}: it is a category, because its name is an identifier's."]
        )
    return Judged(kind, numbers, reason, judged.form, judged.notes if kind == "numeric" else [])


def _judge_whole_numbers(name: str, present: pd.Series, form: NumberForm, *, has_gaps: bool) -> tuple[Kind, str]:
    low, high, values = present.min(), present.max(), present.nunique()
    is_unique = not has_gaps and values == len(present)
    is_consecutive = is_unique and form == PLAIN and high - low == len(present) - 1
    if is_consecutive and _numbers_rows(name, present):
        return "left out", f"it numbers the rows, from {low:.0f} to {high:.0f}"
    if is_unique and names.is_unnamed(name):
        return "left out", "it has no name and differs in each row"
    if is_unique and names.is_identifier(name):
        return "key", "it identifies a row"
    if names.may_repeat(name) and values < len(present):
        is_group = values > MOST_CATEGORIES
        return ("group", f"it repeats for {values} persons or contracts") if is_group else ("categorical", "")
    if low >= 18000101 and high <= 21001231 and _are_dates(present):
        return "left out", f"it is a date, such as {low:.0f}; make numbers of it, such as a weekday or an age"
    return "numeric", ""


def _numbers_rows(name: str, consecutive: pd.Series) -> bool:
    """Whether numbers without a gap are those of the rows: by the name, or because they count from 0 or 1."""
    if names.is_row_name(name):
        return True
    counts = consecutive.is_monotonic_increasing and consecutive.iloc[0] in {0, 1} and len(consecutive) >= 10
    return bool(counts) and not names.is_identifier(name)


def _are_dates(numbers: pd.Series) -> bool:
    months, days = numbers // 100 % 100, numbers % 100
    return bool((months.between(1, 12) & days.between(1, 31)).all())


def find_copies(target: pd.Series, features: dict[str, pd.Series]) -> dict[str, str]:
    """The features that repeat the target, each with the reason.

    Args:
        target: numbers or labels.
        features: numbers or texts with the index of the target.
    """
    copies: dict[str, str] = {}
    for name, cells in features.items():
        known = target.notna() & cells.notna()
        if known.sum() < 10:
            continue
        share = f"in {known.sum() / target.notna().sum():.0%} of the rows with a target"
        if pd.api.types.is_float_dtype(target):
            if pd.api.types.is_float_dtype(cells) and np.allclose(target[known], cells[known], rtol=1e-9):
                copies[name] = f"it gives the target away: it is the same number, {share}"
        elif _stands_for(target[known], cells[known]):
            copies[name] = f"it gives the target away: each value stands for one class, {share}"
    return copies


def _stands_for(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether each value stands for one label, and each label for one value."""
    label_codes, distinct_labels = pd.factorize(labels)
    if cells.iloc[:1000].nunique() > len(distinct_labels):
        return False
    codes, distinct = pd.factorize(cells)
    if len(distinct) != len(distinct_labels) or len(distinct) < 2:
        return False
    return len(np.unique(codes.astype(np.int64) * len(distinct) + label_codes)) == len(distinct)


def find_deciders(target: pd.Series, features: dict[str, pd.Series]) -> Iterable[str]:
    """Yields a sentence for each number that alone tells the target, which a person should look at."""
    advice = "if it is known only afterwards, take it out."
    for name, cells in features.items():
        if not pd.api.types.is_float_dtype(cells):
            continue
        known = target.notna() & cells.notna()
        if pd.api.types.is_float_dtype(target):
            if _is_linear(target[known], cells[known]):
                yield f"{name}: the target is this column times a constant, plus a constant; {advice}"
        elif _is_separated(target[known], cells[known]):
            yield f"{name}: one threshold tells the two classes apart in every row; {advice}"


def _is_linear(target: pd.Series, cells: pd.Series) -> bool:
    if target.nunique() < 3 or cells.nunique() < 3:
        return False
    return bool(1 - np.corrcoef(target, cells)[0, 1] ** 2 < 1e-9)


def _is_separated(labels: pd.Series, cells: pd.Series) -> bool:
    """Whether all numbers of one of two classes are below all of the other's."""
    distinct = labels.unique()
    if len(distinct) != 2:
        return False
    first, second = cells[labels == distinct[0]], cells[labels == distinct[1]]
    return min(len(first), len(second)) >= 10 and bool(first.max() < second.min() or second.max() < first.min())
