"""Words of a file's own that mean a missing number, such as `ND` or `통신장애`."""

from __future__ import annotations

import pandas as pd

from ml_code.cells import MISSING_MARKERS
from ml_code.reading.blocks import is_total
from ml_code.reading.numbers import read_numbers
from ml_code.reading.rules import NumberForm

MOST_WORDS = 3

SAMPLED_TEXTS = 5000

LEAST_SHARE = 0.5
"""Least share of numbers among the cells: with fewer of them the words are the point of the column."""

MOST_OTHERS = 0.2
"""Largest share of other cells in a column that a person would call numbers."""

MANY_NUMBERS = 20

FEW_NUMBERS = 5
"""So many are enough if they have decimal places."""


def find_markers(counts: pd.Series, form: NumberForm) -> list[str]:
    """The words beyond the usual markers that stand in several rows, in a column of quantities; often none.

    Args:
        counts: number of rows by text, the most frequent first.
        form: how the numbers are written.
    """
    texts = pd.Series(counts.index[:SAMPLED_TEXTS], dtype="str")
    found = read_numbers(texts, form, MISSING_MARKERS)
    words = texts[found.is_bad].tolist()
    if not 0 < len(words) <= MOST_WORDS or not are_quantities(found.numbers):
        return []
    rows, missing = int(counts.loc[words].sum()), texts[texts.isin(MISSING_MARKERS)]
    numbers = int(counts.sum()) - rows - int(counts.loc[missing].sum())
    is_usual = all(counts[word] > 1 and not any(map(str.isdigit, word)) and not is_total(word) for word in words)
    return sorted(words) if is_usual and numbers >= LEAST_SHARE * (rows + numbers) else []


def describe_words(counts: pd.Series, form: NumberForm) -> str:
    """The cells that keep a column from being numbers, where most cells are; an empty text elsewhere.

    Args:
        counts: number of rows by text.
        form: how the numbers are written.
    """
    if len(counts) > SAMPLED_TEXTS:
        return ""
    texts = pd.Series(counts.index, dtype="str")
    found = read_numbers(texts, form, MISSING_MARKERS)
    bad, rows = int(counts[found.is_bad.to_numpy()].sum()), int(counts.sum())
    if not bad or bad > MOST_OTHERS * rows or found.numbers.nunique() < FEW_NUMBERS:
        return ""
    example = str(texts[found.is_bad].iloc[0])
    return f"in {bad} of {rows} cells it is not a number, such as {example[:40]!r}"


def are_quantities(numbers: pd.Series) -> bool:
    """Whether numbers, NaN where missing, are too many or too fine to be categories."""
    distinct = numbers.dropna().drop_duplicates()
    return len(distinct) > MANY_NUMBERS or (len(distinct) >= FEW_NUMBERS and bool((distinct % 1 != 0).any()))
