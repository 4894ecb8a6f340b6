"""Writes the TOML file of a drafted dataset, which a person reads and corrects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ml_code.draft.columns import Judged
from ml_code.draft.target import Target
from ml_code.reading.numbers import PLAIN
from ml_code.reading.rules import NumberForm, Reading

LEAVES = 5000
"""Leaves of one tree of a forest, over which the rows are spread."""

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Outline:
    """All that a TOML file says of a dataset."""

    name: str
    file: str
    rows: int
    target_name: str
    target: Target
    key: str | None
    group: str | None
    features: Mapping[str, Judged]
    left_out: Mapping[str, str]
    notes: Sequence[str]
    source_key: str
    reading: Reading
    bad_rows_share: float


def write_toml(outline: Outline) -> str:
    """The text of the TOML file."""
    lines = [
        _in_one_line(f"# Drafted from {outline.rows} rows of {outline.file}: read and correct it."),
        *[f"# {_in_one_line(note)}" for note in outline.notes],
        *[_in_one_line(f"# Left out: {name}, because {reason}.") for name, reason in outline.left_out.items()],
        f"name = {_write(outline.name)}",
        f"task = {_write(outline.target.task)}",
        f"target = {_write(outline.target_name)}",
        f"numeric = {_write(_list_names(outline, 'numeric'))}",
        f"categorical = {_write(_list_names(outline, 'categorical'))}",
        *_write_keys(outline),
        "",
        "[source]",
        'kind = "s3"',
        f"key = {_write(outline.source_key)}",
        *_write_reading(outline),
        "",
        "[checks]",
        f"bad_rows_share = {outline.bad_rows_share!r}",
        *_write_checks(outline),
        *_write_hyperparameters(outline),
        "",
        "[gate]",
        f"metric = {_write(outline.target.metric)}",
        f"# This is {outline.target.reason}: raise it.",
        f"threshold = {outline.target.threshold!r}",
    ]
    return "\n".join(lines) + "\n"


def _list_names(outline: Outline, kind: str) -> list[str]:
    return [name for name, judged in outline.features.items() if judged.kind == kind]


def _write_keys(outline: Outline) -> list[str]:
    lines = [f"key = {_write(outline.key)}"] if outline.key else []
    if outline.group:
        lines.append("# Rows of one group stay together: none is trained on while another one is held out.")
        lines.append(f"group = {_write(outline.group)}")
    return lines


def _write_reading(outline: Outline) -> list[str]:
    """The keys of `[reading]` that differ from a plain CSV file."""
    keys = outline.reading.model_dump(exclude_defaults=True, exclude={"columns"})
    forms = {name: judged.form for name, judged in outline.features.items() if judged.kind == "numeric"}
    forms[outline.target_name] = outline.target.form
    columns = {name: form for name, form in forms.items() if form != PLAIN}
    if not keys and not columns:
        return []
    lines = ["", "# How the files are written; it applies to each later file, too.", "[reading]"]
    lines += [f"{name} = {_write(value)}" for name, value in keys.items()]
    if columns:
        lines += ["", "[reading.columns]"]
        lines += [f"{_write_key(name)} = {_write_form(form)}" for name, form in columns.items()]
    return lines


def _write_form(form: NumberForm) -> str:
    keys = form.model_dump(exclude_defaults=True)
    return "{ " + ", ".join(f"{name} = {_write(value)}" for name, value in keys.items()) + " }"


def _write_checks(outline: Outline) -> list[str]:
    lines = []
    for name, judged in outline.features.items():
        present = judged.cells.dropna()
        # A column that grows with the rows, such as a time, leaves every range.
        if judged.kind == "numeric" and not (present.is_monotonic_increasing and present.is_unique):
            low, high = widen(present)
            lines.append(f"{_write_key(name)} = {{ minimum = {low!r}, maximum = {high!r}, reject = false }}")
    if lines:
        title = "# Each range is the observed one, extended by its width. `reject = false`: what is outside is counted."
        lines.insert(0, title)
    if outline.target.labels:
        lines.append(f"{_write_key(outline.target_name)} = {{ allowed = {_write(outline.target.labels)} }}")
    return ["", "[checks.columns]", *lines] if lines else []


def _write_hyperparameters(outline: Outline) -> list[str]:
    """A forest whose file stays small: grown to the last row, that of 20,000 rows would weigh 70 MB."""
    outputs = max(1, len(outline.target.labels) / 2)
    least = math.ceil(outline.rows * outputs / LEAVES)
    if least < 2:
        return []
    title = "# More rows in each leaf make a smaller model file; serving takes 48 MB at most."
    return ["", title, "[hyperparameters.random_forest]", f"min_samples_leaf = {least}"]


def widen(numbers: pd.Series) -> tuple[float, float]:
    """The observed range, extended by its width on either side; 0 to 1, and a range without minus, stay there."""
    low, high = float(numbers.min()), float(numbers.max())
    if numbers.isin([0, 1]).all():
        return 0.0, 1.0
    margin = high - low
    exponent = math.floor(math.log10(margin)) if margin else 0
    minimum = round(math.floor((low - margin) / 10.0**exponent) * 10.0**exponent, -exponent)
    maximum = round(math.ceil((high + margin) / 10.0**exponent) * 10.0**exponent, -exponent)
    return (0.0 if low >= 0 else minimum), maximum


def _write(value: Any) -> str:
    """A TOML value: JSON's strings, numbers and lists are a part of TOML's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _write(name)


def _in_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
