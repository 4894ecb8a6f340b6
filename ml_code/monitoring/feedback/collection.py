"""Moves labels from the segments of the replicas, and from CSV files, into the store, each exactly once.

The steps are those of the prediction log: a lock, a folder per batch whose name says how far the log was complete, and
objects whose names and content follow from that folder. A label whose request may not be in the log yet goes into the
next batch. An event that is collected a second time is known by its id.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa

from ml_code.cells import name_category
from ml_code.datasets import Catalog, Dataset
from ml_code.monitoring.feedback.counts import Counts, record_counts
from ml_code.monitoring.feedback.csv_files import take_files
from ml_code.monitoring.feedback.events import Event, read_event, render_event
from ml_code.monitoring.feedback.judging import Judge, Kept, LabelRules, Unused, Verdicts, count_repeats
from ml_code.monitoring.feedback.labels import STORED, choose_newest, read_events, write_events
from ml_code.monitoring.feedback.rows import find_hour, find_rows
from ml_code.monitoring.prediction_log.collection import (
    STAMP,
    find_volume,
    group_files,
    hold_lock,
    list_leftovers,
    retire,
)
from ml_code.monitoring.prediction_log.reading import read_watermark
from ml_code.segments import SUFFIX, read_lines, take_free, write_synced
from ml_code.workspace import Workspace

GROUP_BYTES = 32_000_000
"""Segments that are read at once: an event takes ten times as much memory as its line."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Collected:
    """What some batches brought, by model, and what they left for later or could not read."""

    models: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    waiting: int = 0
    broken: int = 0

    def add(self, other: Collected) -> None:
        """Adds another batch."""
        for model, counts in other.models.items():
            self.models[model].add(counts)
        self.waiting += other.waiting
        self.broken += other.broken

    def describe(self) -> str:
        """What was collected, in one sentence."""
        total = Counts()
        for counts in self.models.values():
            total.add(counts)
        unused = total.unknown + total.mistyped + total.too_late + total.implausible + total.refused
        return (
            f"{total.labels} labels ({total.duplicate} repeated, {total.corrected} corrected), {unused} without use, "
            f"{self.waiting} for the next time, {self.broken} lines that cannot be read"
        )


def collect_labels(workspace: Workspace) -> Collected | None:
    """Collects all labels that arrived; None where another collection is under way.

    Raises:
        StorageError: the store refuses; nothing is lost, and the next collection goes on.
        WarehouseError: the database cannot be reached; the same.
    """
    home = find_volume(workspace).home
    feedback, batches = home / "feedback", home / "feedback-batches"
    with hold_lock(home / "feedback.lock") as is_ours:
        if not is_ours:
            log.info("another collection is under way, nothing to do here")
            return None
        total = Collected()
        for folder in list_leftovers(batches):
            total.add(_process(workspace, feedback, folder))
        complete_at = read_watermark(workspace) or datetime.fromtimestamp(0, UTC)
        folder = batches / f"{datetime.now(UTC):{STAMP}}_{round(complete_at.timestamp() * 1000)}"
        folder.mkdir()
        take_free(feedback, folder)
        take_files(workspace, folder)
        total.add(_process(workspace, feedback, folder))
    log.info("collected %s", total.describe())
    return total


def _process(workspace: Workspace, feedback: Path, folder: Path) -> Collected:
    """Stores a batch; nothing of it depends on the moment, so it may be repeated."""
    total = Collected()
    for number, paths in enumerate(group_files(folder, GROUP_BYTES)):
        name = f"{folder.name}-{number}"
        events, broken = _read(paths)
        found = _store(workspace, feedback, name, events, int(folder.name.rpartition("_")[2]))
        found.broken = broken
        record_counts(workspace, name, found.models)
        total.add(found)
    retire(folder)
    return total


def _read(paths: Sequence[Path]) -> tuple[list[Event], int]:
    events: dict[str, Event] = {}
    broken = 0
    for path in paths:
        lines, torn = read_lines(path)
        broken += torn
        for line in lines:
            try:
                event = read_event(line)
            except ValueError as error:
                log.warning("%s: %s", path.name, error)
                broken += 1
            else:
                events[event.event] = event
    return sorted(events.values(), key=lambda event: (event.received_at, event.event)), broken


def _store(workspace: Workspace, feedback: Path, name: str, events: Sequence[Event], complete_ms: int) -> Collected:
    verdicts = _judge(workspace, events, complete_ms)
    found = Collected(waiting=len(verdicts.waiting))
    by_model: dict[str, list[Kept]] = defaultdict(list)
    for kept in verdicts.kept:
        by_model[kept.model].append(kept)
    for model, labels in sorted(by_model.items()):
        _keep(workspace, name, model, labels, found.models[model])
    for unused in verdicts.unused:
        counts = found.models[unused.model]
        setattr(counts, unused.reason, getattr(counts, unused.reason) + 1)
    _set_aside(workspace, name, verdicts.unused)
    _put_back(feedback, name, verdicts.waiting)
    return found


def _judge(workspace: Workspace, events: Sequence[Event], complete_ms: int) -> Verdicts:
    newest_ms = max((event.received_at for event in events), default=0)
    logged = find_rows(
        workspace,
        dict.fromkeys(event.request_id for event in events if event.request_id),
        {(event.model, event.client_request_id) for event in events if event.client_request_id},
        datetime.fromtimestamp(newest_ms / 1000, UTC),
    )
    return Judge(logged, make_rules(workspace.catalog), complete_ms).judge(events)


def make_rules(catalog: Catalog) -> dict[str, LabelRules]:
    """What the datasets say of the labels of their models."""
    return {
        model: _read_rules(dataset)
        for dataset in catalog.datasets.values()
        for model in (dataset.name, *dataset.models)
    }


def _read_rules(dataset: Dataset) -> LabelRules:
    check = dataset.checks.columns.get(dataset.target)
    allowed = None if check is None or check.allowed is None else frozenset(map(name_category, check.allowed))
    return LabelRules(allowed, timedelta(days=dataset.drift.label_horizon_days))


def _keep(workspace: Workspace, name: str, model: str, labels: Sequence[Kept], counts: Counts) -> None:
    by_hour: dict[datetime, list[Kept]] = defaultdict(list)
    for kept in labels:
        by_hour[find_hour(kept.request_id)].append(kept)
    stored = read_events(workspace, model, lambda hour: hour in by_hour, without=name)
    known = set(stored["event"].to_pylist())
    earlier = _find_texts(choose_newest(stored))
    for hour, of_hour in sorted(by_hour.items()):
        new = [kept for kept in of_hour if bytes.fromhex(kept.event.event) not in known]
        duplicate, corrected = count_repeats(new, earlier)
        counts.add(Counts(len(new), duplicate, corrected))
        if new:
            write_events(workspace, model, hour, name, _make_table(new))


def _find_texts(newest: pa.Table) -> dict[tuple[str, int], str]:
    columns = (newest[name].to_pylist() for name in ("request_id", "row", "label"))
    return {(request_id.hex(), row): text for request_id, row, text in zip(*columns, strict=True)}


def _make_table(labels: Sequence[Kept]) -> pa.Table:
    ids = [bytes.fromhex(kept.request_id) for kept in labels]
    columns = {
        "request_id": ids,
        "row": [kept.event.row for kept in labels],
        "time": [int.from_bytes(one[:6]) for one in ids],
        "label": [kept.text for kept in labels],
        "observed_at": [kept.event.observed_at for kept in labels],
        "received_at": [kept.event.received_at for kept in labels],
        "token": [kept.event.token for kept in labels],
        "source": [kept.event.source for kept in labels],
        "event": [bytes.fromhex(kept.event.event) for kept in labels],
    }
    return pa.table(columns, schema=STORED)


def _set_aside(workspace: Workspace, name: str, unused: Iterable[Unused]) -> None:
    found = [{"reason": one.reason, "of_model": one.model, **one.event._asdict()} for one in unused]
    if found:
        lines = b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in found)
        workspace.storage.write_bytes(workspace.places.locate_unused_labels(name), lines)


def _put_back(feedback: Path, name: str, waiting: Iterable[Event]) -> None:
    """Puts labels before the next collection; one file per batch, which a repeat replaces."""
    path, content = feedback / f"waiting-{name}{SUFFIX}", b"".join(map(render_event, waiting))
    if not content:
        path.unlink(missing_ok=True)
        return
    feedback.mkdir(exist_ok=True)
    write_synced(path, content)
