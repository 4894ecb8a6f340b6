"""Columns of a reference and of a window in one form, in which they can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.cells import name_category

type Kind = Literal["numeric", "categorical"]
type Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Cells of one feature, of the prediction, or of the score.

    Numbers are float32, as the model reads them, and NaN if missing. A category is the place (int32) of its canonical
    text in `names`, and -1 if missing.
    """

    kind: Kind
    cells: npt.NDArray[np.float32] | npt.NDArray[np.int32]
    names: tuple[str, ...] = ()

    @property
    def is_missing(self) -> npt.NDArray[np.bool_]:
        """Whether each cell is missing."""
        return np.isnan(self.cells) if self.kind == "numeric" else self.cells < 0

    @property
    def present(self) -> npt.NDArray[np.float32] | npt.NDArray[np.int32]:
        """The cells that are not missing."""
        return self.cells[~self.is_missing]

    def take(self, places: Places) -> Column:
        """The cells at these places."""
        return replace(self, cells=self.cells[places])


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The columns of some rows: features by their names, and the answers `prediction` and `score`."""

    rows: int
    features: Mapping[str, Column]
    answers: Mapping[str, Column]

    def take(self, places: Places) -> Sample:
        """The rows at these places."""
        features = {name: column.take(places) for name, column in self.features.items()}
        return Sample(len(places), features, {name: column.take(places) for name, column in self.answers.items()})


def read_sample(rows: pa.Table) -> Sample:
    """Reads rows of the prediction log or of a reference."""
    struct = rows.column("features") if "features" in rows.column_names else None
    members = [] if struct is None else [struct.type.field(place).name for place in range(struct.type.num_fields)]
    features = {name: read_column(pc.struct_field(struct, [place])) for place, name in enumerate(members)}
    answers = {name: read_column(rows.column(name)) for name in ("prediction", "score")}
    return Sample(rows.num_rows, features, answers)


def read_column(cells: pa.ChunkedArray) -> Column:
    """Reads a column of numbers or of texts."""
    if not pa.types.is_string(cells.type) and not pa.types.is_large_string(cells.type):
        numbers = cells.cast(pa.float64(), safe=False).cast(pa.float32(), safe=False)
        return Column("numeric", numbers.to_numpy(zero_copy_only=False).astype(np.float32, copy=False))
    coded = cells.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # a column without rows has no chunk
        coded = pa.concat_arrays(coded.chunks) if coded.num_chunks else pa.array([], coded.type)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return _name_canonically(codes, coded.dictionary.to_pylist())


def align(first: Column, second: Column) -> tuple[Column, Column]:
    """Two columns of categories with the same names in the same places; numbers stay as they are."""
    if first.kind == "numeric" or second.kind == "numeric":
        return first, second
    names = (*first.names, *sorted(set(second.names) - set(first.names)))
    place = {name: number for number, name in enumerate(names)}
    codes = np.array([*(place[name] for name in second.names), -1], dtype=np.int32)
    return replace(first, names=names), Column("categorical", codes[second.cells], names)


def _name_canonically(codes: npt.NDArray[np.int32], texts: Sequence[str | None]) -> Column:
    """Two spellings of one category become one; the empty text is a missing cell."""
    named = [name_category(text) for text in texts]
    names = tuple(sorted(set(named) - {""}))
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    return Column("categorical", np.array([*(place[name] for name in named), -1], dtype=np.int32)[codes], names)
