"""Converts a workbook or a Parquet file in a process of its own: a few bytes of it may unpack to gigabytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import BinaryIO

from ml_code.errors import SourceError
from ml_code.reading.rules import Reading

CHILD = ("-m", "ml_code.reading.conversion_child")
"""Arguments of Python that run the process of `conversion_child`."""

REFUSED = 3
"""Its exit code where it refuses the file; it prints the message instead of the table."""

LONGEST_SECONDS = 900.0
"""Longest wait for it; its processor time has a bound of its own."""


def convert_apart(stream: BinaryIO, name: str, reading: Reading) -> bytes:
    """Converts a workbook's sheet or a Parquet file to CSV in UTF-8, as `convert_table` does.

    Args:
        stream: of the file, at its start.
        name: for messages.
        reading: names the sheet, the lines above the header, and the forms of numbers.

    Raises:
        SourceError: `convert_table` refuses the file, or it needs too much memory or time.
    """
    command = [sys.executable, *CHILD, name, reading.model_dump_json()]
    try:
        child = subprocess.run(  # noqa: S603  this package
            command,
            input=stream.read(),
            capture_output=True,
            timeout=LONGEST_SECONDS,
            check=False,
            # Arrow's own allocator would map a gigabyte at once, and the bound of the process counts that.
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
    except subprocess.TimeoutExpired:
        raise _explain(name, f"was not read after {LONGEST_SECONDS:.0f} s") from None
    if child.returncode == REFUSED:
        raise SourceError(child.stdout.decode())
    if child.returncode != 0:
        is_slow = child.returncode == -signal.SIGXCPU
        raise _explain(name, "takes too long to read" if is_slow else "needs too much memory, or ends what reads it")
    return child.stdout


def _explain(name: str, found: str) -> SourceError:
    return SourceError(
        f"file {name}: found a file that {found}, expected a table that fits the memory once unpacked; "
        "save the table alone as CSV UTF-8 and load that"
    )
