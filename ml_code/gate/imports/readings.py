"""What the answers of a foreign graph mean: values, labels, positions of classes, or numbers for the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ml_code.cells import name_category
from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.model_file.onnx_model import LONGEST_QUOTE
from ml_code.model_file.spec import Label

type Answers = Literal["labels", "positions"]
type Declare = Callable[[str], list[int | str] | None]
type Outputs = Mapping[str, npt.NDArray[Any]]

SUM_TOLERANCE = 1e-3
"""Largest difference from 1 of the sum of a row's probabilities."""

ROUNDING = 1e-5
"""How much less than zero a probability of float32 may be: one minus the sum of many shares."""

LEAST_CONSENT = 0.9
"""Least share of rows whose most probable class is the answer; below it the order of the columns is another one."""

NEAR = 0.25
"""A float within this distance of a whole number is that number, as a label."""


@dataclass(frozen=True, slots=True)
class Columns:
    """An output with one column for each class, `order` giving that of each; one column alone is the second class's."""

    output: str
    order: tuple[int, ...] | None

    def read(self, outputs: Outputs) -> npt.NDArray[np.float64]:
        """One number for each row and class."""
        numbers = outputs[self.output].astype(np.float64)
        if self.order is not None:
            return numbers[:, list(self.order)]
        second = numbers.reshape(-1, 1)
        return np.concatenate([1 - second, second], axis=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to get the prediction of each row.

    Args:
        output: its name.
        codes: class id of each answer; None: the largest column of `scores` wins, or the answer is a value.
        scores: the numbers that decide.
        probabilities: those to serve; None: there are none.
    """

    output: str
    codes: Mapping[int | str, int] | None = None
    scores: Columns | None = None
    probabilities: Columns | None = None

    @property
    def is_value(self) -> bool:
        """Whether the prediction is a value of a regression."""
        return self.codes is None and self.scores is None

    def read(self, outputs: Outputs) -> npt.NDArray[Any]:
        """Class ids, -1 for an unknown answer; or values as float64."""
        if self.scores is not None:
            numbers = self.scores.read(outputs)
            return np.asarray(
                numbers[:, 1] > numbers[:, 0] if self.scores.order is None else numbers.argmax(axis=1), np.int64
            )
        answers = outputs[self.output].reshape(-1)
        if self.codes is None:
            return answers.astype(np.float64)
        return np.array([self.codes.get(answer, -1) for answer in _list_raw(answers)], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Target:
    """What a dataset expects as answers.

    Args:
        dataset: names the target.
        classes: sorted labels; None for a regression.
        truth: target of the rows on which the file ran.
        answers: what whole numbers mean by the word of a person; None: find out.
    """

    dataset: Dataset
    classes: list[Label] | None
    truth: Sequence[Label]
    answers: Answers | None = None


def find_reading(target: Target, declare: Declare, outputs: Outputs) -> Reading:
    """Reads the first output as the prediction, and a later one as probabilities.

    Args:
        target: what is expected.
        declare: returns the labels that the file lists for an output, in the order of its columns.
        outputs: arrays by name in the order of the file, with one row for each row of the target's truth.

    Raises:
        ModelFileError: no reading fits, or several fit and differ.
    """
    dataset, classes = target.dataset, target.classes
    first = next(iter(outputs))
    found = outputs[first]
    declared = declare(first)
    if found.ndim not in {1, 2} or (found.ndim == 2 and found.shape[1] == 0):
        raise ModelFileError(f"found the output {first[:60]} of shape {found.shape}, {_expect(dataset, classes)}")
    width = 1 if found.ndim == 1 else found.shape[1]
    if classes is None:
        return _read_values(dataset, first, found, width, declared)
    if width > 1:
        return _read_columns(dataset, declare, outputs, first, classes)
    is_whole = not _is_float(found) or bool(np.all(found == np.round(found)))
    codes = _find_codes(target, found, declared, classes) if is_whole else None
    # Zeros and ones may be the ends of probabilities.
    if codes is None or (_is_float(found) and len(classes) == 2 and codes.get(0) == 0 and codes.get(1) == 1):
        return _read_share(target, first, found, classes)
    reading = Reading(first, codes=codes)
    return Reading(first, codes=codes, probabilities=_find_probabilities(declare, outputs, reading, declared, classes))


def _read_values(dataset: Dataset, first: str, found: npt.NDArray[Any], width: int, declared: object) -> Reading:
    is_number = np.issubdtype(found.dtype, np.number)
    if width == 1 and is_number and declared is None:
        return Reading(first)
    what = "labels" if declared is not None else str(found.dtype)
    raise ModelFileError(
        f"found the output {first[:60]} of shape {found.shape} with {what}, expected float values for the regression "
        f"{dataset.name}, one for each row; export it as a regression"
    )


def _read_columns(dataset: Dataset, declare: Declare, outputs: Outputs, first: str, classes: list[Label]) -> Reading:
    """The largest column wins; its class is the one that the file lists, or the one at its position."""
    found = outputs[first]
    if not _is_number(found) or found.shape[1] != len(classes):
        raise ModelFileError(f"found the output {first[:60]} {list(found.shape)}, {_expect(dataset, classes)}")
    listed = declare(first)
    if (order := _order_columns(listed, classes)) is None:
        shown = ", ".join(map(str, (listed or [])[:10]))[:LONGEST_QUOTE]
        expected = _expect(dataset, classes)
        raise ModelFileError(f"found columns of {first[:60]} for the labels {shown} that the file lists, {expected}")
    columns = Columns(first, order)
    return Reading(first, scores=columns, probabilities=columns if _are_probabilities(columns.read(outputs)) else None)


def _read_share(target: Target, first: str, found: npt.NDArray[Any], classes: list[Label]) -> Reading:
    """One column is the probability of the second class."""
    if len(classes) == 2 and np.all((found >= 0) & (found <= 1)):
        column = Columns(first, None)
        return Reading(first, scores=column, probabilities=column)
    smallest, largest = float(found.min()), float(found.max())
    step = "put a sigmoid behind it, and export it again" if len(classes) == 2 else "export it with its other columns"
    raise ModelFileError(
        f"found one column {first[:60]} with numbers from {smallest:g} to {largest:g}, "
        f"{_expect(target.dataset, classes, step)}"
    )


def _name_labels(classes: list[Label]) -> dict[str, int]:
    """Class ids by canonical label."""
    return {name_category(label): place for place, label in enumerate(classes)}


def _find_codes(
    target: Target, found: npt.NDArray[Any], declared: list[int | str] | None, classes: list[Label]
) -> Mapping[int | str, int]:
    """The class id of each answer: answers are labels or positions, whichever all of them can be."""
    answers = target.answers
    seen: list[int | str] = sorted(set(_list_raw(found.reshape(-1))), key=str)
    universe = declared if declared is not None and set(seen) <= set(declared) else seen
    readings = {"labels": _name_labels(classes), "positions": {str(place): place for place in range(len(classes))}}
    shown = ", ".join(map(str, universe[:10]))[:LONGEST_QUOTE]
    fitting = {kind: ids for kind, ids in readings.items() if all(name_category(code) in ids for code in universe)}
    if answers is not None and answers in fitting:
        fitting = {answers: fitting[answers]}
    if not fitting or (answers is not None and answers not in fitting):
        raise ModelFileError(f"found the answers {shown}, {_expect(target.dataset, classes)}")
    if len(fitting) > 1 and readings["labels"] != readings["positions"]:
        shares = {kind: _measure(found, ids, classes, target.truth) for kind, ids in fitting.items()}
        raise ModelFileError(
            f"found the answers {shown}, which are labels of {target.dataset.target} (right in "
            f"{shares['labels']:.0%} of the training rows) and positions of classes (right in "
            f"{shares['positions']:.0%}), expected one meaning; add --answers labels or --answers positions"
        )
    # Texts are looked up as they come: the graph does not know that 1.0 is 1.
    [ids, *_] = fitting.values()
    known: list[int | str] = [*ids] if found.dtype == object else [int(code) for code in ids if _is_whole(code)]
    return {code: ids[name_category(code)] for code in (*known, *universe)}


def _find_probabilities(
    declare: Declare,
    outputs: Outputs,
    reading: Reading,
    declared: list[int | str] | None,
    classes: list[Label],
) -> Columns | None:
    """The first output of probabilities whose largest is nearly always the answer."""
    answers = reading.read(outputs)
    for name in list(outputs)[1:]:
        found = outputs[name]
        if not _is_float(found) or len(found) != len(answers):
            continue
        columns = None
        if found.ndim == 2 and found.shape[1] == len(classes):
            order = _order_columns(declare(name) or declared, classes)
            columns = Columns(name, order) if order is not None else None
        elif len(classes) == 2 and found.size == len(answers):
            columns = Columns(name, None)
        if columns is not None and _fit_answers(columns.read(outputs), answers):
            return columns
    return None


def _fit_answers(shares: npt.NDArray[np.float64], answers: npt.NDArray[np.int64]) -> bool:
    """Whether these are probabilities, and the most probable class is the answer: always, or nearly so.

    Columns of rare classes may be exchanged while nearly all rows agree. Each class must then be likelier in its rows.
    """
    if not _are_probabilities(shares):
        return False
    if np.all(shares[np.arange(len(shares)), answers] >= shares.max(axis=1) - ROUNDING):
        return True
    gains = [shares[answers == place].mean(axis=0) - shares.mean(axis=0) for place in np.unique(answers)]
    is_gain = all(gain[place] >= gain.max() for place, gain in zip(np.unique(answers), gains, strict=True))
    return is_gain and bool(np.mean(shares.argmax(axis=1) == answers) >= LEAST_CONSENT)


def _order_columns(declared: list[int | str] | None, classes: list[Label]) -> tuple[int, ...] | None:
    """The column of each class by the labels or positions that the file lists; None if it lists others.

    A file that lists nothing has the columns in the order of the classes.
    """
    if not declared:
        return tuple(range(len(classes)))
    names = [name_category(label) for label in declared]
    for wanted in ([name_category(label) for label in classes], [str(place) for place in range(len(classes))]):
        if sorted(names) == sorted(wanted):
            return tuple(names.index(label) for label in wanted)
    return None


def _are_probabilities(numbers: npt.NDArray[np.float64]) -> bool:
    return bool(np.all(numbers >= -ROUNDING) and np.allclose(numbers.sum(axis=1), 1, atol=SUM_TOLERANCE))


def _is_float(found: npt.NDArray[Any]) -> bool:
    return bool(np.issubdtype(found.dtype, np.floating))


def _is_number(found: npt.NDArray[Any]) -> bool:
    return bool(np.issubdtype(found.dtype, np.number))


def _is_whole(text: str) -> bool:
    return text.isascii() and text.lstrip("-").isdecimal() and str(int(text)) == text


def _list_raw(answers: npt.NDArray[Any]) -> list[int | str]:
    """Answers as texts or whole numbers."""
    if answers.dtype == object or answers.dtype.kind in "US":
        return [str(answer) for answer in answers.tolist()]
    if _is_float(answers):
        return [
            int(near) if abs(answer - near) < NEAR else -(2**63)
            for answer, near in zip(answers, np.round(answers), strict=True)
        ]
    return [int(answer) for answer in answers.tolist()]


def _measure(found: npt.NDArray[Any], ids: Mapping[str, int], classes: list[Label], truth: Sequence[Label]) -> float:
    read = [classes[ids[name_category(code)]] for code in _list_raw(found.reshape(-1))]
    return float(np.mean([a == b for a, b in zip(read, truth, strict=True)]))


def _expect(dataset: Dataset, classes: list[Label] | None, step: str = "export it for these classes") -> str:
    if classes is None:
        return f"expected one value of {dataset.target} for each row; export it so"
    names = [str(label) for label in classes]
    shown = (", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else ""))[:LONGEST_QUOTE]
    one = ", or one probability of the second" if len(names) == 2 else ""
    return (
        f"expected labels of {dataset.target} ({shown}), their positions 0 to {len(names) - 1}, or "
        f"(rows, {len(names)}) with one number for each of them{one}; {step}"
    )
