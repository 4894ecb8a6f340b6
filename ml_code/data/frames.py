"""Frames whose columns may be called anything."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def replace_columns(frame: pd.DataFrame, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
    """A frame with these columns instead of, or beside, its own; the argument stays unchanged.

    `DataFrame.assign` takes names as keywords, so it refuses a column called `self`.
    """
    replaced = frame.copy(deep=False)
    for name, column in columns.items():
        replaced[name] = column
    return replaced
