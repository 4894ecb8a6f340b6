"""An opened model file; the gate and the service predict with the same code."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ml_code.errors import GoldenMismatchError, ModelFileError
from ml_code.model_file.chunks import (
    MEASURED_ROWS,
    count_chunk_rows,
    estimate_row_bytes,
    open_profile,
    read_row_bytes,
)
from ml_code.model_file.feed import Feed, Rows, feed_columns, feed_rows
from ml_code.model_file.spec import METADATA_KEY, Label, ModelSpec, Value
from ml_code.model_file.tolerance import find_scale, is_same

# Since 1.29 ONNX Runtime reports processes and models to its maker from its import on (microsoft/onnxruntime#27379).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

GOLDEN_TOLERANCE = 1e-4
"""Largest difference, absolute plus relative, between a golden number and its replay (float32 across CPUs)."""

LONGEST_RUN_SECONDS = 60
"""Longest run of a file that nobody vouches for: its loops may never end."""

LONGEST_QUOTE = 200
"""Most characters that a message quotes."""

LONGEST_LINE = 2_000
"""Most characters of an error of ONNX Runtime that are read."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of n rows: n labels or values, and for classifiers (n, classes) float32 probabilities.

    `classes` are the labels of the probabilities' columns, if they are known; `places` are those of the values among
    them, int64 of shape (n).
    """

    values: list[float] | list[Label]
    probabilities: npt.NDArray[np.float32] | None
    classes: Sequence[Label] | None = None
    places: npt.NDArray[np.int64] | None = None


class OnnxModel:
    """One model file in memory, with its spec.

    >>> OnnxModel(Path("model.onnx").read_bytes()).predict_rows([[5.1, 3.5, 1.4, 0.2]]).values
    [0]
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        """Opens a session.

        Raises:
            ModelFileError: the bytes are not an ONNX model, or lack a spec that fits the graph.
        """
        with open_profile() as profile:
            self._session = open_session(content, threads, profile=profile)
            self.spec = _read_spec(self._session)
            self._outputs = [self.spec.prediction_output]
            if self.spec.probabilities_output:
                self._outputs.append(self.spec.probabilities_output)
            # Not a list: there an id of -1 would mean the last class.
            self._labels = None if self.spec.classes is None else dict(enumerate(self.spec.classes))
            self.chunk_rows = count_chunk_rows(self._measure_row() if profile else self._estimate_row())

    @property
    def is_open(self) -> bool:
        """Whether the session is open."""
        return self._session is not None

    def hold(self) -> ort.InferenceSession:
        """The session, which stays open for as long as the caller holds it."""
        return self._session

    def predict_rows(self, rows: Rows) -> Prediction:
        """Predicts rows, with cells in the order of the spec's features; None is a missing value."""
        return self._predict(feed_rows(self.spec.features, rows))

    def predict_columns(self, columns: Mapping[str, Sequence[Value] | npt.NDArray[np.generic]]) -> Prediction:
        """Predicts columns of equal length, by name; None and NaN are missing values."""
        return self._predict(feed_columns(self.spec.features, columns))

    def run(self, feed: Feed) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float32] | None]:
        """Returns the graph's outputs: class ids or values of shape (rows,), and probabilities (rows, classes).

        Many rows are computed in chunks: a category of 5,000 texts makes 40 kB of a row, 400 MB of 10,000.
        """
        session, rows = self.hold(), len(next(iter(feed.values())))
        if rows <= self.chunk_rows:
            outputs = session.run(self._outputs, feed)
        else:
            parts = [slice(start, start + self.chunk_rows) for start in range(0, rows, self.chunk_rows)]
            chunks = [session.run(self._outputs, {name: feed[name][part] for name in feed}) for part in parts]
            outputs = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
        return outputs[0].reshape(-1), outputs[1] if len(outputs) > 1 else None

    def replay_golden(self) -> None:
        """Predicts the golden rows again and compares.

        Raises:
            ModelFileError: the model fails on the golden rows, or there are none.
            GoldenMismatchError: a prediction differs from the one recorded at the export.
        """
        golden = self.spec.golden
        answer = self._predict_golden()
        scale = find_scale(golden.predictions) if self.spec.task == "regression" else 1.0
        for number, (expected, found) in enumerate(zip(golden.predictions, answer.values, strict=True)):
            if not is_same(expected, found, GOLDEN_TOLERANCE, scale) and not self._is_tie(number, expected, found):
                raise GoldenMismatchError(
                    f"golden row {number} of a {self.spec.dataset} model: found {found!r}, expected {expected!r}; "
                    "the file has changed since its export, or this runtime computes otherwise: train again"
                )
        if golden.probabilities is not None and answer.probabilities is not None:
            worst = float(np.abs(answer.probabilities - np.array(golden.probabilities, dtype=np.float32)).max())
            if not worst <= GOLDEN_TOLERANCE:
                raise GoldenMismatchError(
                    f"golden probabilities of a {self.spec.dataset} model: found a difference of {worst:g}, "
                    f"expected at most {GOLDEN_TOLERANCE:g}; train again"
                )

    def _measure_row(self) -> float:
        """The bytes that the graph takes for one row, by the profile of a run of the golden rows."""
        try:
            rows = (self.spec.golden.rows * MEASURED_ROWS)[:MEASURED_ROWS]
            self._session.run(self._outputs, feed_rows(self.spec.features, rows))
        except Exception:  # onnxruntime's exceptions share no root; the replay of the golden rows tells the cause
            rows = []
        finally:
            profile = Path(self._session.end_profiling())
        try:
            return read_row_bytes(profile, len(rows)) if rows else self._estimate_row()
        except (OSError, ValueError):
            return self._estimate_row()

    def _estimate_row(self) -> float:
        return estimate_row_bytes(self.spec.features)

    def _predict_golden(self) -> Prediction:
        golden = self.spec.golden
        try:
            answer = self.predict_rows(golden.rows)
            # A graph with a fixed number of rows would pass here and fail on every request.
            self.predict_rows([*golden.rows, *golden.rows, golden.rows[0]])
            fault = self._find_misfit(answer)
        except Exception as error:  # onnxruntime's exceptions share no root but Exception
            raise ModelFileError(
                f"golden rows of a {self.spec.dataset} model: found that its file does not answer them ({error!r}), "
                "expected a spec that fits the graph; train again"
            ) from error
        if fault is not None:
            raise ModelFileError(f"golden rows of a {self.spec.dataset} model: {fault}; train again")
        return answer

    def _find_misfit(self, answer: Prediction) -> str | None:
        """The first difference between the shape of the golden predictions and the spec; None if they agree."""
        golden, classes = self.spec.golden, self.spec.classes
        rows = len(golden.rows)
        if not rows == len(golden.predictions) == len(answer.values):
            recorded = f"{len(golden.predictions)} recorded and {len(answer.values)} new answers"
            return f"found {recorded} to {rows} rows, expected one to each, and at least one"
        shape = None if answer.probabilities is None else np.shape(answer.probabilities)
        if golden.probabilities is not None and np.shape(golden.probabilities) != shape:
            return f"found recorded probabilities whose shape is not the file's {shape}, expected the same"
        if shape is not None and (len(shape) != 2 or shape != (rows, len(classes) if classes else shape[-1])):
            return f"found probabilities of shape {shape}, expected one for each of {rows} rows and of the classes"
        return None

    def _is_tie(self, number: int, expected: Value, found: Value) -> bool:
        """Whether a golden row has the same probability of two labels: another CPU may round to the other one."""
        if self.spec.classes is None or self.spec.golden.probabilities is None:
            return False
        shares: dict[Value, float] = dict(zip(self.spec.classes, self.spec.golden.probabilities[number], strict=True))
        return expected in shares and found in shares and is_same(shares[expected], shares[found], GOLDEN_TOLERANCE)

    def _predict(self, feed: Feed) -> Prediction:
        answers, probabilities = self.run(feed)
        values = answers.tolist()
        if self._labels is None:
            return Prediction(values, probabilities)
        labels = list(map(self._labels.__getitem__, values))
        places = answers.astype(np.int64, copy=False) if answers.dtype.kind == "i" else None
        return Prediction(labels, probabilities, self.spec.classes, places)


class BareModel:
    """A model file without a description, run as it came: to compare with, never to serve."""

    def __init__(self, content: bytes) -> None:
        """Opens a session that computes what the graph says, without optimizations.

        Raises:
            ModelFileError: ONNX Runtime cannot open it.
        """
        self._session = open_session(content, 1, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def run(self, outputs: Sequence[str], feed: Feed, seconds: float = LONGEST_RUN_SECONDS) -> list[Any]:
        """Returns the named outputs: arrays, or lists where the graph has sequences.

        Raises:
            ModelFileError: the graph fails on these rows, or takes too long.
        """
        options = ort.RunOptions()
        timer = threading.Timer(seconds, setattr, (options, "terminate", True))
        timer.start()
        try:
            found: list[Any] = self._session.run(list(outputs), feed, options)
        except Exception as error:  # onnxruntime's exceptions share no root but Exception
            reason = f"no end after {seconds:g} s" if options.terminate else shorten(error)
            raise ModelFileError(reason) from error
        finally:
            timer.cancel()
        return found


def shorten(error: object) -> str:
    """The first line of a message, without the places in ONNX Runtime's own source, and at most 200 characters."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    # A name in the graph may be a megabyte of slashes, from each of which a search would run to the end.
    first = lines[0][:LONGEST_LINE] if lines else type(error).__name__
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", first)
    text = re.sub(r"/\S+\.(cc|h|cpp):\d+ (.*?\) )?", "", text)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}..."


def open_session(
    content: bytes,
    threads: int = 1,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """Opens a session that keeps no core busy while it waits.

    Raises:
        ModelFileError: ONNX Runtime cannot open the file.
    """
    options = ort.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    # A thread that waits for work would keep a core busy, which takes as much again as the work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = level
    # No digest covers weights in a file beside it.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent")
    options.log_severity_level = 4  # every failure is raised as well, and the caller reports it
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no root but Exception
        raise ModelFileError(
            f"model file of {len(content)} bytes: found that ONNX Runtime cannot open it ({shorten(error)}), "
            "expected an ONNX model; train or register it again"
        ) from error
    # Kept to open the file again for another provider, of which there is none: a second copy of each served file.
    session.disable_fallback()
    session._model_bytes = None
    return session


def _read_spec(session: ort.InferenceSession) -> ModelSpec:
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise ModelFileError(f"model file: found metadata that is not UTF-8 ({error}); export it again") from error
    if text is None:
        raise ModelFileError(
            f"model file: found no metadata {METADATA_KEY!r}, expected the spec that the export writes; "
            "train it with `mlops train`"
        )
    try:
        spec = ModelSpec.model_validate_json(text)
    except ValidationError as error:
        raise ModelFileError(f"model file: found a spec that does not validate ({error}); export it again") from error
    inputs = sorted(node.name for node in session.get_inputs())
    expected = sorted(feature.input for feature in spec.features)
    if inputs != expected:
        raise ModelFileError(f"model file: found the inputs {inputs}, expected {expected} by its spec; export it again")
    return spec
