"""The limits of one canary: the catalog's, and what a form changes of them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ml_code.canary import Canary
from serving.comparison.analysis import Rules

STRICTER_IF_MORE = frozenset({"window_seconds", "minimum_requests"})
"""A larger value of these is the stricter one; of the others the smaller one is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a canary is judged.

    `looser` says of each value of the form, in words, how it is looser than the catalog's.
    """

    rules: Rules
    window_seconds: float
    looser: tuple[str, ...] = ()


def choose_limits(catalog: Canary, form: Mapping[str, Any]) -> Limits:
    """Takes the form's values, and the catalog's where the form has none.

    >>> choose_limits(Canary(), {"minimum_requests": 60}).looser
    ('minimum_requests 60 instead of 300',)
    """
    of_catalog = catalog.model_dump()
    asked = {name: form[name] for name in of_catalog if form.get(name) is not None}
    chosen = of_catalog | asked
    looser = [
        f"{name} {value:g} instead of {of_catalog[name]:g}"
        for name, value in asked.items()
        if (value < of_catalog[name] if name in STRICTER_IF_MORE else value > of_catalog[name])
    ]
    if form.get("allow_schema_change"):
        looser.append("a changed schema is allowed")
    rules = Rules(**{field.name: chosen[field.name] for field in fields(Rules)})
    return Limits(rules, chosen["window_seconds"], tuple(looser))
