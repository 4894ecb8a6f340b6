"""What a form may change of the catalog's rules of a canary."""

from __future__ import annotations

from typing import Any

import pytest

from ml_code.canary import Canary
from serving.comparison.analysis import Rules
from serving.comparison.limits import choose_limits

CATALOG = Canary(window_seconds=60, minimum_requests=500, success_drop=0.05)


@pytest.mark.parametrize("form", [{}, {"window_seconds": None, "success_drop": None, "model": "iris"}])
def test_an_empty_form_has_the_catalogs_rules(form: dict[str, Any]) -> None:
    limits = choose_limits(CATALOG, form)
    assert limits.rules == Rules(minimum_requests=500, success_drop=0.05)
    assert limits.window_seconds == 60
    assert limits.looser == ()


@pytest.mark.parametrize(
    "form",
    [
        {"window_seconds": 90},
        {"minimum_requests": 501},
        {"success_drop": 0.0},
        {"tolerated_failures": 0},
        {"latency_factor": 1.5},
        {"latency_margin_ms": 10},
        {"distribution_distance": 0.3},
        {"allow_schema_change": False},
    ],
)
def test_an_equal_or_stricter_value_passes(form: dict[str, Any]) -> None:
    assert choose_limits(CATALOG, form).looser == ()


@pytest.mark.parametrize(
    ("form", "looser"),
    [
        ({"window_seconds": 0}, "window_seconds 0 instead of 60"),
        ({"minimum_requests": 499}, "minimum_requests 499 instead of 500"),
        ({"success_drop": 0.06}, "success_drop 0.06 instead of 0.05"),
        ({"tolerated_failures": 3}, "tolerated_failures 3 instead of 2"),
        ({"latency_factor": 2.5}, "latency_factor 2.5 instead of 2"),
        ({"latency_margin_ms": 51}, "latency_margin_ms 51 instead of 50"),
        ({"distribution_distance": 1}, "distribution_distance 1 instead of 0.3"),
        ({"allow_schema_change": True}, "a changed schema is allowed"),
    ],
)
def test_each_looser_value_is_named_and_used(form: dict[str, Any], looser: str) -> None:
    limits = choose_limits(CATALOG, form)
    assert limits.looser == (looser,)
    [(name, value)] = form.items()
    assert getattr(limits.rules, name, limits.window_seconds if name == "window_seconds" else value) == value
