"""Judges each column of a table: a number, a category, the key, a group, or left out for a reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.cells import LABEL_MARKERS, MISSING_MARKERS
from ml_code.data.validation import LARGEST_NUMBER, read_texts
from ml_code.draft import names
from ml_code.draft.dates import DATE, DATE_ADVICE, are_dates
from ml_code.draft.markers import are_quantities, describe_words, find_markers
from ml_code.draft.remarks import describe_missing_code, describe_spellings
from ml_code.reading.numbers import PLAIN, read_number, read_numbers, recognize_form
from ml_code.reading.rules import NumberForm

MOST_CATEGORIES = 50
"""A text column with more values counts as names or remarks, and is left out."""

MOST_CODES = 200
"""The same for codes with leading zeros, such as zip codes, and for texts with ten rows each."""

MOST_OWNERS = 20
"""Persons or contracts with numbers: with more of them a model may recognize each."""

NUMBERS_SHARE = 0.9
"""Least share of numbers in a column of numbers; its other cells make their rows invalid."""

SAMPLED_TEXTS = 5000

MANY_DIGITS = (1e15, 1e19)
"""Numbers whose last digits count: a model reads seven digits of a quantity."""

TURNED = "\\(|-$|[\u25b3\u25bd\u25bc]"
"""A minus in another form than before the digits."""

MISSING_NOTE = " with missing values"

type Kind = Literal["numeric", "categorical", "key", "group", "left out"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a column is, and why; `cells` are its numbers (float64) or canonical texts.

    `invalid` are the index values of the cells that are not numbers in a column of numbers.
    """

    kind: Kind
    cells: pd.Series
    reason: str = ""
    form: NumberForm = PLAIN
    notes: list[str] = field(default_factory=list)
    invalid: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


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
    if names.mentions_identifier(name) and len(distinct) == len(texts):
        return Judged("key", texts, "it identifies a row")
    if reason := _find_text_reason(distinct):
        return Judged("left out", texts, reason)
    is_digits = distinct.str.fullmatch(r"[0-9]+").mean() > NUMBERS_SHARE
    is_code = bool(is_digits and distinct.str.fullmatch(r"0[0-9]+").any())
    judged = None if is_code else _judge_written_numbers(name, texts, counts, prefers_comma=prefers_comma)
    return judged or _judge_texts(name, texts, is_code=is_code)


def _judge_written_numbers(name: str, texts: pd.Series, counts: pd.Series, *, prefers_comma: bool) -> Judged | None:
    """Judges a column of texts most of which are numbers; None if they are other texts."""
    distinct = pd.Series(counts.index, dtype="str")
    form = recognize_form(distinct.iloc[:SAMPLED_TEXTS], MISSING_MARKERS, prefers_comma=prefers_comma)
    if own := find_markers(counts, form):
        form = form.model_copy(update={"missing": own})
    markers = MISSING_MARKERS.union(own)
    if (notes := _find_number_notes(name, distinct, counts.to_numpy(), form, markers)) is not None:
        found = read_numbers(texts, form, markers)
        is_bad = found.is_bad | (found.numbers.abs() > LARGEST_NUMBER)
        judged = _judge_numbers(name, Judged("numeric", found.numbers.where(~is_bad), form=form, notes=notes))
        return replace(judged, invalid=is_bad.index[is_bad].to_numpy())
    if not (reason := describe_words(counts, form)):
        return None
    judged = _judge_texts(name, texts, is_code=False)
    if judged.kind == "categorical" and are_quantities(read_numbers(distinct, form, MISSING_MARKERS).numbers):
        return Judged("left out", texts, reason)
    return replace(judged, notes=[*judged.notes, f"{name}: it is a category, because {reason}."])


def _find_number_notes(
    name: str,
    distinct: pd.Series,
    counts: npt.NDArray[np.integer[Any]],
    form: NumberForm,
    markers: frozenset[str],
) -> list[str] | None:
    """What to say of a column of numbers; None if it has too many other cells, or one number."""
    found = read_numbers(distinct, form, markers)
    is_bad = found.is_bad | (found.numbers.abs() > LARGEST_NUMBER)
    numbers = found.numbers.where(~is_bad)
    is_marker = numbers.isna() & ~is_bad
    good, present = int(counts[numbers.notna()].sum()), int(counts[~is_marker].sum())
    are_numbers = good == present or (good >= NUMBERS_SHARE * present and are_quantities(numbers))
    if numbers.nunique() < 2 or not are_numbers:
        return None
    notes = []
    turned = distinct[numbers.lt(0) & distinct.str.contains(TURNED)]
    if form.model_copy(update={"missing": None}) != PLAIN or len(turned):
        shown = distinct[numbers.notna()]
        marked = distinct[numbers.abs().gt(0) & distinct.str.contains(r"[^0-9.-]")]
        example = next(iter(turned if len(turned) else marked if len(marked) else shown))
        number = read_number(example, form, markers)
        notes.append(f"{name}: {example[:40]!r} is read as {number:.15g}.")
    if is_marker.any():
        words = ", ".join(sorted(distinct[is_marker]))
        notes.append(f"{name}: {counts[is_marker].sum()} cell(s){MISSING_NOTE} ({words}).")
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
        return f"it is a date or time, such as {sample.iloc[0]!r}; {DATE_ADVICE}"
    digits = sample[sample.str.fullmatch(r"-?[0-9]+")]
    if len(digits) > NUMBERS_SHARE * len(sample) and digits.str.len().max() > 15:
        return "it is an identifier of many digits"
    return None


def _judge_texts(name: str, texts: pd.Series, *, is_code: bool) -> Judged:
    values, rows = texts.nunique(), int(texts.notna().sum())
    if names.is_unnamed(name) and values == len(texts):
        return Judged("left out", texts, "it has no name and differs in each row")
    is_numbered = names.is_owner(name) and values > MOST_OWNERS and texts.dropna().str.contains("[0-9]").all()
    if (names.may_repeat(name) and MOST_CATEGORIES < values < rows) or (is_numbered and values < rows):
        return Judged("group", texts, f"it repeats for {values} persons or contracts")
    is_repeated = values * 3 <= rows * 2 if is_code else values * (2 if values <= MOST_CATEGORIES else 10) <= rows
    if values <= MOST_CODES and is_repeated:
        notes = [f"{name}: it is a category, because it holds codes."] if is_code else []
        return Judged(
            "categorical", texts, notes=[*notes, *_describe_markers(name, texts), *describe_spellings(name, texts)]
        )
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
        return f"it has {values} codes, such as {texts.dropna().iloc[0]!r}"
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
    is_key = len(present) == len(numbers) and present.is_unique and names.is_identifier(name)
    is_whole = bool((present % 1 == 0).all())
    if is_whole and are_dates(name, present):
        return Judged("left out", numbers, f"it is a date, such as {present.min():.0f}; {DATE_ADVICE}")
    if is_whole and names.is_code(name) and judged.form == PLAIN and not is_key:
        return _judge_texts(name, read_texts(numbers), is_code=True)
    if is_whole:
        kind, reason = _judge_whole_numbers(name, present, judged.form, has_gaps=len(present) < len(numbers))
    if kind == "categorical":
        return Judged(
            kind, read_texts(numbers), notes=[f"{name}: it is a category, because its name is an identifier's."]
        )
    notes = [*judged.notes, *describe_missing_code(name, present)] if kind == "numeric" else []
    return Judged(kind, numbers, reason, judged.form, notes)


def _judge_whole_numbers(name: str, present: pd.Series, form: NumberForm, *, has_gaps: bool) -> tuple[Kind, str]:
    low, high, values = present.min(), present.max(), present.nunique()
    is_unique = not has_gaps and values == len(present)
    is_consecutive = is_unique and form == PLAIN and high - low == len(present) - 1
    if is_consecutive and _numbers_rows(name, present):
        return "left out", f"it numbers the rows, from {low:.0f} to {high:.0f}"
    if is_unique and names.is_unnamed(name):
        return "left out", "it has no name and differs in each row"
    if is_unique and names.mentions_identifier(name):
        return "key", "it identifies a row"
    if names.may_repeat(name) and values < len(present):
        is_group = values > (MOST_OWNERS if names.is_owner(name) else MOST_CATEGORIES)
        return ("group", f"it repeats for {values} persons or contracts") if is_group else ("categorical", "")
    return ("left out", "it is an identifier of many digits") if _is_long(present) else ("numeric", "")


def _is_long(present: pd.Series) -> bool:
    """Whether whole numbers have so many digits that they are no quantity."""
    is_long = MANY_DIGITS[0] <= present.abs().median() <= MANY_DIGITS[1]
    return bool(is_long and (present % 1000 != 0).mean() > NUMBERS_SHARE)


def _numbers_rows(name: str, consecutive: pd.Series) -> bool:
    """Whether numbers without a gap are those of the rows: by the name, or because they count from 0 or 1."""
    if names.is_row_name(name):
        return True
    counts = consecutive.is_monotonic_increasing and consecutive.iloc[0] in {0, 1} and len(consecutive) >= 10
    return bool(counts) and not names.mentions_identifier(name)
