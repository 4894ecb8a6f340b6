"""The version of a dataset: the digest of its rows; and the record of the inputs that gave the present one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.datasets import Dataset
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

VERSION_LENGTH = 16
"""Hex digits of a dataset's version: enough for a billion versions without a collision."""

ROW_DIGEST_BYTES = 16

BLOCK_ROWS = 65_536

ROLES = {"task", "target", "numeric", "categorical", "key", "group"}
"""Part of a version: other roles of the same columns make another model."""

IRRELEVANT = {"description", "models", "unknown", "holdout", "hyperparameters", "gate", "require_approval"}
"""Fields of a dataset that do not decide which rows it has."""


@dataclass(frozen=True, slots=True)
class PresentVersion:
    """The newest version of a dataset, the digest of the inputs that gave it, and the sha256 of its source's file."""

    version: str
    inputs: str
    source: str


def read_present(workspace: Workspace, dataset: str) -> PresentVersion | None:
    """Reads the record of a dataset's newest version; None if there is none that can be read.

    Raises:
        StorageError: the store refuses.
    """
    uri = workspace.places.locate_version(dataset)
    if workspace.storage.find(uri) is None:
        return None
    try:
        return PresentVersion(**json.loads(workspace.storage.read_bytes(uri)))
    except (ValueError, TypeError):  # of an older release, or written by hand: it is only a shortcut
        return None


def write_present(workspace: Workspace, dataset: str, present: PresentVersion) -> None:
    """Writes the record of a dataset's newest version.

    Raises:
        StorageError: the store refuses.
    """
    content = json.dumps(asdict(present)).encode()
    workspace.storage.write_bytes(workspace.places.locate_version(dataset), content)


def digest_inputs(
    dataset: Dataset, source_sha256: str, files: Iterable[StoredObject], dropped: Mapping[str, Mapping[str, datetime]]
) -> str:
    """Digest of everything that decides a dataset's rows: the present files, dropped labels, the catalog, the code."""
    rules = dataset.model_dump(mode="json", exclude=IRRELEVANT)
    states = sorted((file.uri, file.tag) for file in files)
    tokens = {model: {name: until.isoformat() for name, until in found.items()} for model, found in dropped.items()}
    text = json.dumps([source_sha256, tokens, states, rules, _digest_code()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class VersionDigest:
    """The version of rows that come in blocks: the digest of them in any order, and of the columns' roles and types.

    It holds 16 bytes for each row.
    """

    def __init__(self, dataset: Dataset, dtypes: pd.Series) -> None:
        """Takes the dtype of each column, which all blocks have."""
        kinds = {name: _name_kind(pd.Series(dtype=dtypes[name])) for name in sorted(dtypes.index)}
        self._head = json.dumps([dataset.model_dump(mode="json", include=ROLES), kinds], sort_keys=True)
        self._digests: list[bytes] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Adds a block."""
        self._digests.append(b"".join(digest_rows(rows)))

    def finish(self) -> str:
        """The version of the added rows."""
        digest = hashlib.sha256(self._head.encode())
        numbers = np.frombuffer(b"".join(self._digests), ">u8").reshape(-1, 2)
        self._digests.clear()
        digest.update(numbers[np.lexsort((numbers[:, 1], numbers[:, 0]))])
        return digest.hexdigest()[:VERSION_LENGTH]


def digest_rows(rows: pd.DataFrame) -> list[bytes]:
    """Digest of each row, independent of the order of the columns and of the versions of pandas and Arrow.

    A row's bytes are 8 bytes little-endian per column, by name: a number's value, or a text's length in bytes (-1 if
    it is missing). Its texts follow in UTF-8.
    """
    names = sorted(rows.columns)
    digests: list[bytes] = []
    for start in range(0, len(rows), BLOCK_ROWS):
        digests += _digest_block(rows.iloc[start : start + BLOCK_ROWS], names)
    return digests


def _digest_block(rows: pd.DataFrame, names: list[str]) -> list[bytes]:
    fixed: list[npt.NDArray[np.int64]] = []
    texts: list[pa.Array] = []
    for name in names:
        if _name_kind(rows[name]) == "text":
            text = pa.array(rows[name].astype("str"), type=pa.large_string(), from_pandas=True)
            fixed.append(pc.fill_null(pc.binary_length(text), -1).to_numpy(zero_copy_only=False).astype("<i8"))
            texts.append(text.cast(pa.large_binary()))
        else:
            fixed.append(_get_bits(rows[name]))
    width = 8 * len(fixed)
    head = np.column_stack(fixed).tobytes()
    tails = _join(texts, len(rows))
    return [
        hashlib.sha256(head[number * width : (number + 1) * width] + tail).digest()[:ROW_DIGEST_BYTES]
        for number, tail in enumerate(tails)
    ]


def _join(texts: list[pa.Array], rows: int) -> list[bytes]:
    """The texts of each row in one, without separators: their lengths tell them apart."""
    if not texts:
        return [b""] * rows
    nothing = pa.scalar(b"", pa.large_binary())
    joined = pc.binary_join_element_wise(*texts, nothing, null_handling="replace", null_replacement="")
    cells: list[bytes] = joined.to_pylist()
    return cells


def _get_bits(cells: pd.Series) -> npt.NDArray[np.int64]:
    """Numbers as 8 bytes each; all missing ones have the same bytes, and zero has no sign."""
    if _name_kind(cells) == "whole":
        return cells.to_numpy("<i8")
    numbers = cells.to_numpy("<f8", na_value=np.nan) + 0.0
    return np.where(np.isnan(numbers), np.nan, numbers).view("<i8")


def _name_kind(cells: pd.Series) -> str:
    if pd.api.types.is_float_dtype(cells):
        return "number"
    return "whole" if isinstance(cells.dtype, np.dtype) and cells.dtype.kind == "i" else "text"


@cache
def _digest_code() -> str:
    """Digest of the modules that read and check rows: another release may read the same files in another way."""
    package = Path(__file__).parents[1]
    modules = [package / "cells.py", package / "datasets.py"]
    for folder in ("data", "reading"):
        modules += sorted((package / folder).rglob("*.py"))
    return hashlib.sha256(b"\0".join(module.read_bytes() for module in modules)).hexdigest()
