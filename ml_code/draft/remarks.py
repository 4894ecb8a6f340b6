"""What a person should look at in a column that is read: spellings of one word, and numbers that mean missing."""

from __future__ import annotations

import unicodedata

import pandas as pd

from ml_code.data.holdout import place_rows
from ml_code.datasets import Dataset

MISSING_CODES = (
    -9, -99, -999, -9999, -99999, -9.9, -99.9, -999.9, -9999.9, 99, 999, 9999, 99999, 999999, 99.9, 999.9, 9999.9,
)  # fmt: skip
"""Numbers that surveys and instruments write where there is no value."""

MOST_SHOWN = 3

LEAST_GROUPS = 10
"""With fewer groups in the holdout the gate asks a person: `LEAST_ROWS` of ml_code/gate/evidence.py."""

_SAME_TRUTH = {"true": "1", "false": "0"}


def describe_missing_code(name: str, present: pd.Series) -> list[str]:
    """A note about a number that is far from all others and may mean a missing value.

    Args:
        name: of the column.
        present: its numbers as float64, without missing ones.
    """
    low, high = present.min(), present.max()
    for code in (end for end in (low, high) if end in MISSING_CODES or end < 0):
        others = present[present != code]
        count = len(present) - len(others)
        distance = min(abs(others.min() - code), abs(others.max() - code)) if len(others) else 0
        is_odd = code in MISSING_CODES or code < 0 <= others.min()
        if is_odd and count > 1 and others.nunique() > 2 and distance > others.max() - others.min():
            return [
                f"{name}: {count} cell(s) are {code:.15g}, far from the others; if that means a missing value, "
                f'set missing = ["{code:.15g}"] for it.'
            ]
    return []


def find_spellings(texts: pd.Series) -> list[list[str]]:
    """The texts that differ only in case, blanks or look-alike letters, each list in the order of the texts.

    `True` and `1` are spellings of one value, and so are `False` and `0`, in a column that has all kinds.
    """
    distinct = [str(text) for text in texts.dropna().unique()]
    groups: dict[str, list[str]] = {}
    for text in distinct:
        groups.setdefault(_fold(text), []).append(text)
    if {"true", "1"} <= groups.keys() or {"false", "0"} <= groups.keys():
        for word, digit in _SAME_TRUTH.items():
            groups.setdefault(digit, []).extend(groups.pop(word, []))
    return [spellings for spellings in groups.values() if len(spellings) > 1]


def describe_spellings(name: str, texts: pd.Series) -> list[str]:
    """A note about the first spellings of one word among the texts of a category."""
    found = find_spellings(texts)
    if not found:
        return []
    shown = ", ".join(repr(text[:40]) for text in found[0][:MOST_SHOWN])
    return [
        f"{name}: {shown} count as different values, though they differ only in case, blanks or look-alike letters; "
        "write them alike if they are one."
    ]


def describe_groups(dataset: Dataset, frame: pd.DataFrame) -> list[str]:
    """A note where too few groups are held out for the gate to decide alone.

    Args:
        dataset: names the group, if any, and the share.
        frame: rows with the dataset's columns.
    """
    if dataset.group is None:
        return []
    groups = frame.dropna(subset=[dataset.group]).drop_duplicates(dataset.group)
    held = int((place_rows(dataset, groups) < dataset.holdout.share).sum())
    if held >= LEAST_GROUPS:
        return []
    return [
        f"{dataset.group}: {held} of {len(groups)} groups are held out, and the gate needs {LEAST_GROUPS}, so each "
        "version waits for a person. Bring more groups, or raise holdout.share."
    ]


def _fold(text: str) -> str:
    """The text in lower case, with single blanks, and without invisible letters."""
    visible = (letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    return " ".join("".join(visible).casefold().split())
