"""Labels in bulk: CSV files in the store, `predictions/feedback/<model>/<name>.csv`.

A file is taken as a whole, or rejected with the reasons beside it. Its events have ids that follow from the file, so a
file that is taken twice counts once.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_code.monitoring.feedback.events import FIELDS, Event, Flaw, read_item, render_event
from ml_code.segments import SUFFIX, write_synced
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace

LARGEST_BYTES = 10_000_000
"""A larger file is to be sent in parts: a collection holds one in memory."""

MOST_REASONS = 100

MOST_FLAWS = 1000
"""Flaws after which a file is read no further."""

LONGEST_ROW = 9
"""Digits of the number of a row."""

log = logging.getLogger(__name__)


def take_files(workspace: Workspace, folder: Path) -> None:
    """Writes the events of each file into a batch's folder, and moves the file to `processed/` or `rejected/`.

    Raises:
        StorageError: the store refuses.
    """
    prefix = f"{workspace.places.feedback}/"
    for entry in workspace.storage.list_objects(prefix):
        model, _, name = entry.uri.removeprefix(prefix).partition("/")
        if name and "/" not in name and name.lower().endswith(".csv"):
            _take_file(workspace, folder, entry, model, name)


def read_file(content: bytes, entry: StoredObject, model: str, name: str) -> tuple[list[Event], list[str]]:
    """The events of a file, and what is wrong with it."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return [], ["found bytes that are not UTF-8, expected a CSV file in UTF-8"]
    reader = csv.DictReader(lines, strict=True)
    events: list[Event] = []
    reasons: list[str] = []
    received_ms = round(entry.modified_at.timestamp() * 1000)
    digest = hashlib.sha256(f"{entry.uri}|{entry.tag}".encode()).hexdigest()
    try:
        if reason := _find_flaw_of_header(reader.fieldnames or []):
            return [], [reason]
        for number, cells in enumerate(reader):
            found = read_item(_read_cells(cells), received_ms)
            if isinstance(found, Flaw):
                reasons.append(f"line {reader.line_num}: {found.field or 'label'}: {found.problem}")
                if len(reasons) == MOST_FLAWS:
                    break
                continue
            # In the order of the lines, so that the last label of a row counts.
            event_id = f"{received_ms:012x}{number:08x}{digest[:12]}"
            events.append(Event(**found, received_at=received_ms, token=None, event=event_id, model=model, source=name))
    except csv.Error as error:
        reasons.append(f"line {reader.line_num}: found {error}, expected a CSV file")
    return events, reasons


def _take_file(workspace: Workspace, folder: Path, entry: StoredObject, model: str, name: str) -> None:
    if entry.size_bytes > LARGEST_BYTES:
        events = list[Event]()
        reasons = [f"found {entry.size_bytes} bytes, expected at most {LARGEST_BYTES}; send it in parts"]
    else:
        events, reasons = read_file(workspace.storage.read_bytes(entry.uri), entry, model, name)
    target = workspace.places.locate_filed_labels(model, name, is_rejected=bool(reasons))
    if reasons:
        more = [f"and {len(reasons) - MOST_REASONS} more"] if len(reasons) > MOST_REASONS else []
        text = "\n".join([*reasons[:MOST_REASONS], *more, ""])
        workspace.storage.write_bytes(f"{target}.reasons.txt", text.encode())
        log.warning("%s: rejected: %s", entry.uri, reasons[0])
    elif events:
        path = folder / f"csv-{events[0].event}{SUFFIX}"
        write_synced(path, b"".join(map(render_event, events)))
    workspace.storage.move(entry.uri, target, entry.tag)


def _find_flaw_of_header(names: Any) -> str | None:
    has_id = "request_id" in names or "client_request_id" in names
    if has_id and "label" in names and set(names) <= set(FIELDS) and len(set(names)) == len(names):
        return None
    return (
        f"line 1: found the columns {', '.join(names)[:200]}, expected label, request_id or client_request_id, and "
        "at most row and observed_at"
    )


def _read_cells(cells: Mapping[str | None, Any]) -> dict[str, Any]:
    """The cells of a line as JSON would have them: an empty one is none, and a row is a number."""
    # Cells without a column lie under None, in a list.
    found = {name or "cells without a column": cell for name, cell in cells.items() if cell}
    if (row := found.get("row")) is not None and row.isascii() and row.isdigit() and len(row) <= LONGEST_ROW:
        found["row"] = int(row)
    return found
