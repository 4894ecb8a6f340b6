"""The columns that the catalog keeps out of the prediction log at this moment (`log = false`)."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import NamedTuple

from ml_code.datasets import CATALOG

logger = logging.getLogger("serving")


class Known(NamedTuple):
    """What a file said when it was read last; `columns` is None where it never could be read."""

    stamp: tuple[int, int]
    columns: frozenset[str] | None


class UnloggedColumns:
    """Reads a dataset's file again when it was written.

    >>> UnloggedColumns().find("titanic")
    frozenset()
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or CATALOG
        self._known: dict[str, Known] = {}

    def find(self, dataset: str) -> frozenset[str] | None:
        """The columns not to log; None, if the file never could be read: then no column is logged.

        A file that cannot be read any more says what it said before; a dataset without a file names none.
        """
        known = self._known.get(dataset)
        path = self._folder / f"{dataset}.toml"
        try:
            status = path.stat()
        except FileNotFoundError:
            return known.columns if known else frozenset()
        except OSError:
            return known.columns if known else None
        stamp = (status.st_mtime_ns, status.st_size)
        if known is None or known.stamp != stamp:
            known = self._known[dataset] = Known(stamp, self._read(path, known))
        return known.columns

    @staticmethod
    def _read(path: Path, before: Known | None) -> frozenset[str] | None:
        try:
            checks = tomllib.loads(path.read_text(encoding="utf-8")).get("checks", {}).get("columns", {})
            return frozenset(name for name, check in checks.items() if check.get("log", True) is not True)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError) as error:
            expected = "no column of it is logged" if before is None or before.columns is None else "as before"
            logger.warning("%s: the columns not to log cannot be read (%s): %s", path, error, expected)
            return before.columns if before else None
