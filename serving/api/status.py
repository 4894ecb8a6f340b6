"""The state of a replica: its versions, its problems, and how far each model's rollout is.

`/readyz` is for the stack alone: the gateway hides it. `/models` and `/rollouts` are read without a login. They have
states, versions, times and counts; reasons, persons and runs are in Airflow, MLflow and the warehouse.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from serving.following.follower import Follower
from serving.registry.names import CHALLENGER, CHAMPION, PREVIOUS, SHADOW
from serving.registry.reader import RegisteredModel

PUBLIC_TEXTS = ("kind", "state", "from_version", "to_version", "started_at", "updated_at")
"""Fields of a rollout that everybody may read."""

LONGEST_TEXT = 40
"""Characters of such a field."""

FIGURES = ("canary", "stable", "experiment", "agreement")
"""Groups of a rollout's figures that everybody may read: of both pools, and of a test."""

VERDICTS = frozenset({"better", "worse", "equivalent", "undecided"})


def describe_readiness(follower: Follower, shadows: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of `/readyz`: the versions that answer, those that predict for nobody, and every problem."""
    now = time.monotonic()
    failures = [
        {
            "model": name,
            "alias": alias,
            "version": failure.version,
            "reason": failure.reason,
            "retry_in_seconds": max(0, round(failure.retry_at - now)),
        }
        for (name, alias), failure in follower.failures.items()
    ]
    notes = [{"model": name, "alias": alias, "reason": reason} for (name, alias), reason in follower.notes.items()]
    models = [{key: model[key] for key in ("name", "version", "variant", "since")} for model in list_served(follower)]
    return {
        "ready": follower.is_ready,
        "registry": {**_describe_registry(follower), "reason": follower.registry_problem},
        "problems": failures + notes,
        "models": models,
        "shadows": _list_shadows(follower, shadows or {}),
    }


def list_served(follower: Follower) -> list[dict[str, Any]]:
    """The list of `GET /models`: every version that answers now."""
    return [
        served.summarize()
        for (name, alias), served in sorted(follower.slots.items())
        if alias == CHAMPION or (alias == CHALLENGER and follower.is_canary_open(name))
    ]


def describe_rollouts(follower: Follower) -> dict[str, Any]:
    """The body of `GET /rollouts`, as the registry was last read."""
    served = {name for name, _ in follower.slots}
    names = sorted(served | {name for name in follower.registered if follower.is_allowed(name)})
    models = [_describe_rollout(follower, name) for name in names]
    return {"registry": _describe_registry(follower), "models": models}


def _list_shadows(follower: Follower, counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The shadows that predict now, each with the rows that it has predicted and missed."""
    found = []
    for name in sorted({name for name, alias in follower.slots if alias == SHADOW}):
        if shadow := follower.pick_shadow(name):
            version, counted = shadow.identity.version, counts.get(name, {})
            of_it = counted if counted.get("version") == version else {"rows": 0, "dropped": {}}
            found.append({"name": name, **of_it, "version": version})
    return found


def _describe_registry(follower: Follower) -> dict[str, Any]:
    return {
        "reachable": follower.registry_problem is None,
        "read_at": follower.read_at and follower.read_at.isoformat(timespec="seconds"),
    }


def _describe_rollout(follower: Follower, name: str) -> dict[str, Any]:
    model = follower.registered.get(name, RegisteredModel({}))
    champion = follower.slots.get((name, CHAMPION))
    return {
        "name": name,
        # Where the registry was not read since the start, what serves is what was the champion.
        "champion": model.aliases.get(CHAMPION) or (champion and champion.identity.version),
        "challenger": model.aliases.get(CHALLENGER),
        "previous": model.aliases.get(PREVIOUS),
        "canary_until": model.canary_until and model.canary_until.isoformat(timespec="seconds"),
        "rollout": _read_rollout(model.rollout),
    }


def _read_rollout(text: str | None) -> dict[str, Any] | None:
    """The public part of a rollout's tag; an unreadable one is ignored, as any user of MLflow's UI may write it."""
    try:
        found = orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    texts = {name: found[name] for name in PUBLIC_TEXTS if _is_short(found.get(name))}
    figures = found["figures"] if isinstance(found.get("figures"), dict) else {}
    return {**texts, **_read_verdict(figures.get("experiment")), "figures": _read_figures(figures)}


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _read_verdict(experiment: object) -> dict[str, str]:
    """The verdict of a test so far; nothing of a rollout without one."""
    verdict = experiment.get("verdict") if isinstance(experiment, dict) else None
    return {"verdict": verdict} if isinstance(verdict, str) and verdict in VERDICTS else {}


def _read_figures(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers of each group: a text could quote a row."""
    groups = {group: found[group] for group in FIGURES if isinstance(found.get(group), dict)}
    return {
        group: {name: value for name, value in figures.items() if _is_short(name) and type(value) in (int, float)}
        for group, figures in groups.items()
    }
