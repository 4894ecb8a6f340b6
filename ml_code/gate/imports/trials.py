"""Runs a foreign graph before anything that it declares is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd

from ml_code.data.frames import replace_columns
from ml_code.datasets import Dataset
from ml_code.errors import ModelFileError
from ml_code.gate.imports.columns import Slot, feed_slots
from ml_code.gate.imports.graph import list_tensor_outputs, watch_choices
from ml_code.gate.imports.readings import Columns, Outputs, Reading
from ml_code.model_file.onnx_model import BareModel, Prediction, shorten
from ml_code.model_file.tolerance import are_close, find_scale

ROWS_ALONE = 24
"""Rows that are asked for one at a time."""

ROWS_WITH_GAP = 8
"""Rows in which one column after the other is missing."""

TOLERANCE = 1e-3
"""Largest difference, in their unit plus relative, of two numbers that count as equal."""

LEAST_AGREEMENT = 0.999
"""Least share of rows with equal answers: a float32 may cross a border that the file knows in double."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The graph as it came, ready to run on rows of the dataset."""

    model: BareModel
    slots: Sequence[Slot]
    outputs: Sequence[str]
    choices: Sequence[str]

    def run(self, frame: pd.DataFrame) -> Outputs:
        """The tensors that it returns for rows, by name; those that its operators choose from come last.

        Raises:
            ModelFileError: it fails on the rows.
        """
        names = [*self.outputs, *self.choices]
        feed = feed_slots(self.slots, frame)
        try:
            found = self.model.run(names, feed)
        except ModelFileError as error:
            raise ModelFileError(
                f"found that it fails on {len(frame)} rows ({error}), expected predictions for any number of rows; "
                "export it so"
            ) from error
        arrays = {name: array for name, array in zip(names, found, strict=True) if isinstance(array, np.ndarray)}
        if self.outputs[0] not in arrays:
            raise ModelFileError(f"found the output {self.outputs[0][:60]}, which is not a tensor; export it as one")
        return arrays

    def select_outputs(self, found: Outputs) -> Outputs:
        """The outputs of the file alone."""
        return {name: found[name] for name in self.outputs if name in found}


def open_trial(proto: onnx.ModelProto, slots: Sequence[Slot]) -> Trial:
    """Opens a graph as it came; only the numbers behind its choices become outputs too.

    Raises:
        ModelFileError: ONNX Runtime cannot open it, or it has no output.
    """
    outputs = list_tensor_outputs(proto.graph)
    if not outputs:
        raise ModelFileError("found a graph without output, expected a prediction as its first output; export it so")
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    choices = watch_choices(watched.graph)
    try:
        return Trial(BareModel(watched.SerializeToString()), slots, outputs, choices)
    except ModelFileError as error:
        raise ModelFileError(
            f"found that ONNX Runtime cannot open it ({shorten(error.__cause__)}), expected operators and types of "
            "ONNX; export it with these alone, or with another version of the converter"
        ) from error


def run_all(trial: Trial, frame: pd.DataFrame) -> Outputs:
    """Runs the graph on rows, and checks that it returns one answer for each.

    Raises:
        ModelFileError: it fails, returns NaN, or returns another number of rows.
    """
    found = trial.run(frame)
    first = found[trial.outputs[0]]
    if first.ndim == 0 or len(first) != len(frame):
        raise ModelFileError(
            f"found {'one value' if first.ndim == 0 else f'{len(first)} answers'} for {len(frame)} rows, "
            "expected one for each row; export it for any number of rows"
        )
    broken = _find_broken_row(found, trial.outputs[0], len(frame))
    if broken is not None:
        gaps = [str(name) for slot in trial.slots for name in slot.columns if _is_missing(frame[name].iloc[broken])]
        raise ModelFileError(
            f"it returns NaN for a missing cell of {', '.join(gaps[:10])}; fill gaps in the graph, and export it again"
            if gaps
            else f"it returns NaN or infinite numbers for the training row {broken}; expected numbers; export it again"
        )
    return found


def find_required(trial: Trial, frame: pd.DataFrame) -> frozenset[str]:
    """The columns whose missing cells the graph cannot read: it fails, returns NaN, or its type has none.

    Args:
        trial: the graph.
        frame: some rows.

    Raises:
        ModelFileError: such a column has missing cells in the rows.
    """
    required = set()
    for slot in trial.slots:
        for name in slot.columns:
            gap = replace_columns(frame.head(ROWS_WITH_GAP), {name: _make_gaps(frame[name].head(ROWS_WITH_GAP))})
            if not slot.holds_missing or _fails(trial, gap):
                required.add(name)
    for name in sorted(required):
        if frame[name].map(_is_missing).any():
            raise ModelFileError(
                f"it cannot read the missing cells of {name}, expected an answer to each row; "
                "fill gaps in the graph, and export it again"
            )
    return frozenset(required)


def refuse_company(trial: Trial, reading: Reading, frame: pd.DataFrame, together: Outputs) -> None:
    """Asks for rows one at a time: a row's answer must not depend on the rows beside it.

    Raises:
        ModelFileError: an answer differs from that among all rows.
    """
    places = np.unique(np.linspace(0, len(frame) - 1, ROWS_ALONE).astype(int))
    scale = find_scale(reading.read(together)) if reading.is_value else 1.0
    for place in places:
        alone = run_all(trial, frame.iloc[place : place + 1])
        whole = {name: array[place : place + 1] for name, array in together.items() if _has_rows(array, len(frame))}
        if not _is_like(reading, alone, whole, scale):
            raise ModelFileError(
                f"it answers the training row {place} otherwise alone than among {len(frame)} rows, expected one "
                "answer to a row in any company; export it in inference mode, without sums or draws over rows"
            )


def refuse_difference(dataset: Dataset, reading: Reading, came: Outputs, adapted: Prediction, labels: Any) -> None:
    """Compares the adapted file with the file as it came.

    Args:
        dataset: for the message.
        reading: what the file's outputs mean.
        came: outputs of the file as it came.
        adapted: answers of the adapted file to the same rows.
        labels: classes, by id; None for a regression.

    Raises:
        ModelFileError: they answer otherwise.
    """
    expected = reading.read(came)
    if labels is None:
        found = np.asarray(adapted.values, dtype=np.float64)
        is_same = are_close(expected, found, TOLERANCE, find_scale(expected))
    else:
        names = dict(enumerate(labels))
        is_same = np.array([names.get(i) == label for i, label in zip(expected, adapted.values, strict=True)])
        is_same |= _find_ties(reading, came, len(expected))
    differing = int(np.sum(~is_same))
    if differing > max(1, (1 - LEAST_AGREEMENT) * len(is_same)) or (differing and len(is_same) < ROWS_ALONE):
        raise ModelFileError(
            f"found {differing} of {len(is_same)} answers to rows of {dataset.name} changed by reading the columns as "
            "float32, expected the file's own answers; export it with float inputs"
        )
    if reading.probabilities is not None and adapted.probabilities is not None:
        shares = reading.probabilities.read(came)
        if np.mean(are_close(shares, adapted.probabilities, TOLERANCE).all(axis=1)) < LEAST_AGREEMENT:
            raise ModelFileError(
                f"found other probabilities for rows of {dataset.name} than the file's own; export it with float inputs"
            )


def _fails(trial: Trial, frame: pd.DataFrame) -> bool:
    try:
        run_all(trial, frame)
    except ModelFileError:
        return True
    return False


def _make_gaps(cells: pd.Series) -> pd.Series:
    missing = np.nan if pd.api.types.is_numeric_dtype(cells) else None
    return pd.Series([missing] * len(cells), index=cells.index, dtype="float64" if missing is not None else object)


def _is_missing(cell: object) -> bool:
    return cell is None or cell is pd.NA or cell == "" or cell != cell  # noqa: PLR0124  NaN differs from itself


def _find_broken_row(found: Outputs, first: str, rows: int) -> int | None:
    """The first row with NaN, or with an infinite prediction; row 0 if an output has other rows."""
    for name, array in found.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        is_broken = ~np.isfinite(array) if name == first else np.isnan(array)
        if np.any(is_broken):
            return int(np.argmax(is_broken.reshape(rows, -1).any(axis=1))) if _has_rows(array, rows) else 0
    return None


def _has_rows(array: npt.NDArray[Any], rows: int) -> bool:
    return array.ndim > 0 and len(array) == rows


def _is_like(reading: Reading, alone: Outputs, whole: Outputs, scale: float) -> bool:
    numbers = [columns for columns in (reading.scores, reading.probabilities) if columns is not None]
    for columns in numbers:
        if not np.all(are_close(columns.read(alone), columns.read(whole), TOLERANCE)):
            return False
    if reading.is_value:
        return bool(np.all(are_close(reading.read(alone), reading.read(whole), TOLERANCE, scale)))
    return bool(np.all((reading.read(alone) == reading.read(whole)) | _find_ties(reading, whole, 1)))


def _find_ties(reading: Reading, found: Outputs, rows: int) -> npt.NDArray[np.bool_]:
    """Rows whose two largest numbers are equal within rounding."""
    columns: Columns | None = reading.scores or reading.probabilities
    if columns is None:
        return np.zeros(rows, dtype=bool)
    largest = np.sort(columns.read(found), axis=1)[:, -2:]
    return np.asarray(largest[:, 1] - largest[:, 0] <= 1e-6 * np.maximum(1, np.abs(largest[:, 1])))
