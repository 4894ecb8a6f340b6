"""A dataset whose rows are of people: the holdout has as much to say as its people."""

from __future__ import annotations

from pathlib import Path

from ml_code.data import snapshots
from ml_code.data.holdout import split_holdout
from ml_code.settings import Settings
from tests.unit.ml_code.gate.rents import Loop


def test_rows_of_few_people_need_a_person(tmp_path: Path, settings: Settings) -> None:
    loop = Loop(tmp_path, settings)
    loop.correct('key = "id"', 'group = "person"')
    loop.bring(person=[None if row > 295 else row % 12 for row in range(300)])
    run_id = loop.train("linear")
    decision = loop.decide(run_id)
    rows = snapshots.read_snapshot(loop.workspace, loop.tracker.runs[run_id].tags["snapshot_uri"])
    people = split_holdout(loop.workspace.load_dataset("rents"), rows).holdout["person"]
    groups = people.nunique() + people.isna().sum()
    assert decision.needs_approval
    assert f"{len(people)} rows of {groups} groups, needed 10" in decision.reason
