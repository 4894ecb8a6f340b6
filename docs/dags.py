"""Writes docs/dags.md, the page of all DAGs, from the docstrings of the DAG files: `make docs`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/dags.md"

HEAD = """\
# DAGs

Written by `make docs` from the docstrings in `dags/`, which Airflow shows as each DAG's page. The colours of tasks
are explained in [task-states.md](task-states.md).
"""


def write_page() -> str:
    """Returns the page."""
    dags = sorted(REPOSITORY.glob("dags/*.py"))
    lessons = sorted(REPOSITORY.glob("dags/examples/*.py"))
    contents = [f"- [`{file.stem}`](#{file.stem}): {_summarize(file)}" for file in dags]
    parts = [HEAD + "\n" + "\n".join(contents), *(_describe(file) for file in dags)]
    rows = [f"| `{file.stem}` | {_summarize(file)} |" for file in lessons]
    parts.append(
        "\n".join(["## Lessons", "", "In `dags/examples/`, paused.", "", "| DAG | what it shows |", "|---|---|", *rows])
    )
    return "\n\n".join(parts) + "\n"


def _describe(file: Path) -> str:
    # The page puts a heading of the docstring one level deeper.
    body = re.sub(r"^(#+ )", r"#\1", _read_docstring(file), flags=re.MULTILINE)
    return f"## {file.stem}\n\n{body}"


def _summarize(file: Path) -> str:
    first = _read_docstring(file).partition("\n\n")[0].replace("\n", " ")
    return first[0].lower() + first[1:].rstrip(".")


def _read_docstring(file: Path) -> str:
    found = ast.get_docstring(ast.parse(file.read_text()))
    if not found:
        raise ValueError(f"{file}: expected a docstring, found none; it is the DAG's page")
    return found


if __name__ == "__main__":
    PAGE.write_text(write_page())
