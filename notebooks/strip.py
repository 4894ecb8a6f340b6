"""Removes the results from notebooks, so that no row or address of a stack is committed: a hook of pre-commit.

>>> python notebooks/strip.py notebooks/train_from_csv.ipynb    # exit code 1 if it removed something
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def strip(text: str) -> str:
    """Returns a notebook without results, counts of executions and traces of the editor."""
    notebook: dict[str, Any] = json.loads(text)
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    kept = {key: notebook["metadata"][key] for key in ("kernelspec",) if key in notebook["metadata"]}
    notebook["metadata"] = {**kept, "language_info": {"name": "python"}}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    changed = []
    for file in map(Path, sys.argv[1:]):
        before = file.read_text(encoding="utf-8")
        if (after := strip(before)) != before:
            file.write_text(after, encoding="utf-8")
            changed.append(file)
            print(f"{file}: removed its results")
    sys.exit(bool(changed))
