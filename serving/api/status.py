"""The state of a replica: its versions, its problems, and how far each model's rollout is."""

from __future__ import annotations

import time
from typing import Any

import orjson

from serving.following.follower import Follower
from serving.registry.names import CHALLENGER, CHAMPION, PREVIOUS
from serving.registry.reader import RegisteredModel


def describe_readiness(follower: Follower) -> dict[str, Any]:
    """The body of `/readyz`: the versions that answer, and every problem."""
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
        "registry": _describe_registry(follower),
        "problems": failures + notes,
        "models": models,
    }


def list_served(follower: Follower) -> list[dict[str, Any]]:
    """The list of `GET /models`: every version that answers now."""
    return [
        served.summarize()
        for (name, alias), served in sorted(follower.slots.items())
        if alias == CHAMPION or follower.is_canary_open(name)
    ]


def describe_rollouts(follower: Follower) -> dict[str, Any]:
    """The body of `GET /rollouts`, as the registry was last read."""
    served = {name for name, _ in follower.slots}
    names = sorted(served | {name for name in follower.registered if follower.is_allowed(name)})
    models = [_describe_rollout(follower, name) for name in names]
    return {"registry": _describe_registry(follower), "models": models}


def _describe_registry(follower: Follower) -> dict[str, Any]:
    return {
        "reachable": follower.registry_problem is None,
        "reason": follower.registry_problem,
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
    """The tag of a rollout; an unreadable one is ignored, as any user of MLflow's UI may write it."""
    try:
        found = orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
