"""Rules of the dashboards: small files by hand, which Grafana takes as they are."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from tests.repo.repository import find_files

FILES = find_files("docker/observability/grafana/dashboards/*.json")
BOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
PANELS = [(f"{name}/{panel['title']}", panel) for name, board in BOARDS.items() for panel in board["panels"]]
BOARD_KEYS = {
    "uid", "title", "description", "tags", "schemaVersion", "version", "editable", "refresh", "time", "panels",
}  # fmt: skip
PANEL_KEYS = {"id", "type", "title", "description", "datasource", "gridPos", "fieldConfig", "targets"}
UNITS = {"short", "s", "percentunit", "reqps", "rowsps", "cps"}
[SOURCE] = yaml.safe_load((FILES[0].parents[1] / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
WIDTH = 24
"""Columns of Grafana's grid."""

each_panel = pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])


def test_there_are_three_with_a_uid_of_their_own() -> None:
    assert sorted(board["uid"] for board in BOARDS.values()) == sorted(BOARDS)
    assert len(BOARDS) == 3


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_has_known_keys_and_panels_of_its_own(name: str) -> None:
    board = BOARDS[name]
    assert set(board) == BOARD_KEYS
    for key in ("id", "title"):
        values = [panel[key] for panel in board["panels"]]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_over_another_or_beyond_the_edge(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for place in places:
        assert set(place) == {"x", "y", "w", "h"}
        assert 0 <= place["x"] < place["x"] + place["w"] <= WIDTH
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@each_panel
def test_a_panel_asks_the_provisioned_source_and_names_its_unit(panel: dict[str, Any]) -> None:
    assert set(panel) == PANEL_KEYS
    assert panel["datasource"] == {"type": SOURCE["type"], "uid": SOURCE["uid"]}
    assert panel["type"] in {"timeseries", "stat"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")
    assert panel["targets"]


@each_panel
def test_what_ends_with_total_is_shown_as_a_rate(panel: dict[str, Any]) -> None:
    """A counter alone begins again with its process."""
    for target in panel["targets"]:
        assert set(target) == {"refId", "expr", "legendFormat"}
        for match in re.finditer(r"\w+_(?:total|count|bucket)\b(?:\{[^}]*\})?(\[\d+[smh]\])?", target["expr"]):
            assert match[1], target["expr"]
