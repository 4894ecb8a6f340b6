"""The process that unpacks a file of people: `python -m ml_code.reading.conversion_child NAME READING < FILE > CSV`."""

from __future__ import annotations

import io
import resource
import sys
from contextlib import suppress
from pathlib import Path

from ml_code.errors import SourceError
from ml_code.reading.conversion import REFUSED
from ml_code.reading.rules import Reading
from ml_code.reading.workbooks import convert_table

ADDRESS_SPACE_BYTES = 2_500_000_000
"""On top of what the libraries have mapped: a table of 500 MB and its cells, with room to spare."""

LONGEST_CPU_SECONDS = 600


def main() -> int:
    """Prints the table, or why it is refused."""
    _limit_process()
    name, reading = sys.argv[1], Reading.model_validate_json(sys.argv[2])
    try:
        found, code = convert_table(io.BytesIO(sys.stdin.buffer.read()), name, reading), 0
    except SourceError as error:
        found, code = str(error).encode(), REFUSED
    sys.stdout.buffer.write(found)
    sys.stdout.buffer.flush()
    return code


def _limit_process() -> None:
    """Bounds memory and processor time, and leaves no core file; macOS does not bound memory."""
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_CPU_SECONDS, LONGEST_CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = mapped + ADDRESS_SPACE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
