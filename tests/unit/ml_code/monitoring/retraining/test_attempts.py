"""What a person is told of an attempt: what it did, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.ml_code.monitoring.test_status import LAST

BEGAN = "2026-11-22 00:00 UTC, after drift, 300 labels: "
FIGURES = "0.95 against 0.8 of version 3 on 102 newest held-out rows"


@pytest.mark.parametrize(
    ("changes", "rollout", "told"),
    [
        ({"outcome": None, "version": None, "verdict": None}, None, "under way"),
        ({"outcome": "failed", "version": None, "verdict": None}, None, "interrupted"),
        ({"outcome": "rejected", "version": None, "verdict": "0.7 < 0.85"}, None, "rejected: 0.7 < 0.85"),
        ({"outcome": "rejected", "verdict": "why"}, None, "version 4 was not approved: why"),
        (
            {"outcome": "held", "verdict": "why"},
            None,
            "version 4 waits for a person (`mlops deploy passengers 4`): why",
        ),
        ({"verdict": "why"}, None, "version 4 passed, and awaits its rollout: why"),
        ({"verdict": "why"}, "promoted", "version 4 passed, and was rolled out: why"),
        ({"verdict": "why"}, "aborted", "version 4 passed, and its rollout was aborted: why"),
        ({"verdict": "why"}, "rolled back", "version 4 passed, and was rolled back: why"),
    ],
)
def test_an_attempt_tells_its_outcome_and_why(changes: dict[str, Any], rollout: str | None, told: str) -> None:
    assert replace(LAST, **changes).describe(rollout) == BEGAN + told


def test_what_anybody_may_read_has_the_figures_of_a_version_and_no_reason_that_may_name_cells() -> None:
    held = replace(LAST, outcome="held")
    assert held.describe(is_public=True).endswith(f": {FIGURES}")
    rejected = replace(LAST, outcome="rejected", version=None, verdict="0.5 < 0.8 in the slice town = B (30 rows)")
    assert rejected.describe(is_public=True) == f"{BEGAN}rejected: `mlops status` tells why"
