"""Judges the target: its task, its labels, and the gate that fits them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import pandas as pd

from ml_code.cells import LABEL_MARKERS, MISSING_MARKERS, name_category
from ml_code.data.validation import WHOLE_NUMBER, read_texts
from ml_code.dataset_rules import METRICS, Metric
from ml_code.draft.dates import DATE
from ml_code.draft.markers import find_markers
from ml_code.draft.remarks import find_spellings
from ml_code.errors import DataCheckError
from ml_code.families import Task
from ml_code.model_file.spec import Label
from ml_code.reading.numbers import PLAIN, read_numbers, recognize_form
from ml_code.reading.rules import NumberForm

TASKS: tuple[Task, ...] = tuple(METRICS)

MISSING_LABELS = frozenset({"-9", "-99", "-999", "99", "999", "9999"})
"""Numbers that surveys write where there is no label."""

NOTHING = frozenset({"none", "nil", "없음", "해당없음", "해당 없음"})
"""Words that are labels more often than gaps, such as the degree of a complication."""

MOST_CLASSES = 10
"""A target of whole numbers with more values counts as a quantity."""

LARGEST_LABEL = 100
"""Whole numbers beyond it count as a quantity, however few differ."""

FEW_CLASSES = 4

LEAST_ROWS_A_CLASS = 3
"""A number with fewer rows, beside more than `FEW_CLASSES` others, is one of a quantity."""

AMOUNT = "[,.'%$₩€£¥]"
"""Signs of amounts."""

LEAST_R2 = 0.1

RARE_SHARE = 0.1
"""A class with a smaller share is rare: accuracy hardly sees whether a model finds it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target's task and gate; `cells` are float64 values or canonical labels, None where there is none."""

    task: Task
    cells: pd.Series
    metric: Metric
    threshold: float
    reason: str
    form: NumberForm = PLAIN
    labels: list[Label] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge_target(name: str, cells: pd.Series, task: str | None, *, prefers_comma: bool = False) -> Target:
    """Judges the target by its cells.

    Args:
        name: of the column.
        cells: texts, missing ones as None.
        task: of the person; None: guessed.
        prefers_comma: whether the file has decimal commas elsewhere.

    Raises:
        DataCheckError: the task is unknown, a regression has texts, or a classification has one class.
    """
    if task is not None and task not in TASKS:
        raise DataCheckError(f"--task: found {task[:50]!r}, expected {' or '.join(TASKS)}; choose one of these")
    if not cells.notna().any():
        raise DataCheckError(f"--target: found no value in {name}, expected one in most rows; choose another target")
    form, values = _read_values(cells, prefers_comma=prefers_comma)
    chosen, notes = _guess_task(name, cells, values) if task is None else (task, [])
    if task is None and values is None:
        _refuse_dates(name, cells)
    if chosen == "classification":
        return _judge_labels(name, cells, notes)
    example = str(cells.dropna().iloc[0])
    if values is None:
        raise DataCheckError(
            f"--target: found the text {example[:50]!r} in {name}, expected numbers for a regression; "
            "choose --task classification, or another target"
        )
    if form.model_copy(update={"missing": None}) != PLAIN:
        example, number = str(cells[values.notna()].iloc[0]), values.dropna().iloc[0]
        notes = [*notes, f"{name}: {example[:40]!r} is read as {number:.15g}."]
    if form.missing:
        notes = [*notes, f"{name}: the text {', '.join(form.missing)[:100]} means that there is none."]
    reason = "little more than the score of always predicting the mean"
    return Target("regression", values, "r2", LEAST_R2, reason, form, [], notes)


def _refuse_dates(name: str, cells: pd.Series) -> None:
    present = read_texts(cells).dropna()
    if present.nunique() > FEW_CLASSES and present.iloc[:1000].str.fullmatch(DATE.pattern).all():
        raise DataCheckError(
            f"--target: found dates or times in {name}, such as {present.iloc[0][:50]!r}, expected labels or numbers; "
            "make numbers of them, such as days until then, or choose --task classification if each is a class"
        )


def _read_values(cells: pd.Series, *, prefers_comma: bool) -> tuple[NumberForm, pd.Series | None]:
    """The form of the target's numbers and their values; None if most cells are other texts."""
    texts = read_texts(cells)
    counts = texts.value_counts()
    form = recognize_form(counts.index[:5000], MISSING_MARKERS, prefers_comma=prefers_comma)
    if own := find_markers(counts, form):
        form = form.model_copy(update={"missing": own})
    found = read_numbers(texts, form, MISSING_MARKERS.union(own))
    is_text = found.is_bad.sum() > 0.1 * texts.notna().sum() or not found.numbers.notna().any()
    return (PLAIN, None) if is_text else (form, found.numbers.where(~found.is_bad))


def _guess_task(name: str, cells: pd.Series, values: pd.Series | None) -> tuple[Task, list[str]]:
    if values is None:
        return "classification", []
    present = values.dropna()
    count = present.nunique()
    if (present % 1 != 0).any():
        return "regression", _explain_guess(name, "regression", "its numbers have decimal places")
    if count > MOST_CLASSES:
        return "regression", _explain_guess(name, "regression", f"it has {count} different numbers")
    is_scarce = count > FEW_CLASSES and present.value_counts().min() < LEAST_ROWS_A_CLASS
    if count > 2 and (present.abs().max() > LARGEST_LABEL or is_scarce):
        return "regression", _explain_guess(name, "regression", "its few different numbers look like a quantity")
    if read_texts(cells).str.contains(AMOUNT, regex=True).any():
        return "regression", _explain_guess(name, "regression", "its numbers are written as amounts")
    return "classification", _explain_guess(name, "classification", f"it has {count} different whole numbers")


def _explain_guess(name: str, task: Task, reason: str) -> list[str]:
    other = next(known for known in TASKS if known != task)
    return [f"{name}: the task is guessed as {task}, because {reason}; otherwise choose --task {other}."]


def _judge_labels(name: str, cells: pd.Series, notes: list[str]) -> Target:
    texts = read_texts(cells)
    markers = _find_label_markers(set(texts.dropna().unique()))
    form = PLAIN.model_copy(update={"missing": markers}) if markers else PLAIN
    if markers:
        count = int(texts.isin(markers).sum())
        notes = [*notes, f"{name}: {count} cell(s) have no label ({', '.join(markers)})."]
        texts = texts.where(~texts.isin(markers), None)
    counts = texts.value_counts()
    notes = [
        *notes,
        *[
            f'{name}: {counts[word]} row(s) have the label {word}; if that means none, set missing = ["{word}"] for it.'
            for word in _find_doubtful(counts.index.tolist())
        ],
    ]
    if len(counts) < 2:
        found = repr(str(counts.index[0])[:50]) if len(counts) else "nothing"
        gaps = int(texts.isna().sum())
        where = f"every row of {name} but {gaps} empty ones" if gaps else f"every row of {name}"
        step = "if empty means another class, write its label there; or " if gaps else ""
        raise DataCheckError(
            f"--target: found {found} in {where}, expected two classes or more; "
            f"{step}bring rows of another class, or choose another target"
        )
    if alike := find_spellings(texts):
        shown = " and ".join(repr(text[:40]) for text in alike[0])
        raise DataCheckError(
            f"--target: found {shown} in {name}, which differ only in how they are written, expected one label for "
            "each class; write them alike in the file, or as two words if they are two classes"
        )
    if len(counts) > len(texts) / 2:
        raise DataCheckError(
            f"--target: found {len(counts)} classes in {len(texts)} rows of {name}, expected several rows of each; "
            "choose another target, or --task regression if it is a quantity"
        )
    single = [str(label)[:40] for label, count in counts.items() if count == 1]
    if single:
        notes = [*notes, f"{name}: the class {', '.join(single[:5])} has one row; bring more rows of it."]
    shares = counts / counts.sum()
    metric: Metric = "accuracy"
    if shares.min() < RARE_SHARE:
        metric, chance = "balanced_accuracy", 1 / len(counts)
        reason = f"little more than chance; accuracy would hardly see the class {str(shares.index[-1])[:40]}"
        threshold = min(math.ceil((chance + 0.02) * 100) / 100, 0.99)
    else:
        reason = "the score of always predicting the most frequent class"
        threshold = min(math.ceil(float(shares.iloc[0]) * 100) / 100, 0.99)
    return Target("classification", texts, metric, threshold, reason, form, _sort_labels(counts.index.tolist()), notes)


def _find_label_markers(labels: set[str]) -> list[str]:
    """The texts that mean a missing label; a sign such as `-` does so beside two words, and never beside `+`."""
    signs = {label for label in labels if not any(map(str.isalnum, label))}
    others = labels - signs - LABEL_MARKERS
    means_missing = signs <= MISSING_MARKERS and len(others) > 1
    return sorted(labels & LABEL_MARKERS | (signs if means_missing else set()))


def _find_doubtful(labels: list[str]) -> list[str]:
    """The sorted labels that may mean a missing one; not `-` beside `+`, `*` beside `**`, nor ND among states."""
    signs = {label for label in labels if not any(map(str.isalnum, label))}
    if signs and (len(signs) == len(labels) or not signs <= MISSING_MARKERS):
        labels = [label for label in labels if label not in signs]
    if len(labels) > FEW_CLASSES and all(re.fullmatch("[A-Z]{2}", label) for label in labels):
        return []
    return sorted(
        label for label in labels if label in MISSING_MARKERS | MISSING_LABELS and label.casefold() not in NOTHING
    )


def _sort_labels(labels: list[str]) -> list[Label]:
    """The sorted labels; whole numbers are numbers, as in the responses of `/predict`."""
    texts = pd.Series([name_category(label) for label in labels], dtype="str")
    if texts.str.fullmatch(WHOLE_NUMBER).all():
        return sorted(map(int, texts))
    return sorted(texts)
