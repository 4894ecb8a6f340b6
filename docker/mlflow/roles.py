"""Rights of MLflow's users: new ones have none, so each right is granted here, to a user or to a role."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

API = "/api/3.0/mlflow"
EXPERIMENTS_API = "/api/2.0/mlflow"
WORKSPACE = "default"

TRACES = "traces"
"""The experiment of the spans of requests and runs."""

type Ask = Callable[[str, str, dict[str, Any] | None], tuple[int, dict[str, Any]]]
"""Method, path and body of a request in the admin's name; returns the status and the answer."""

GRANTS = {
    # Writes every run, and moves and deletes aliases, also of a model that a person has made.
    "trainer": {"experiment": "EDIT", "registered_model": "MANAGE"},
    # The replicas read models that `trainer` registers later, so the right is for every name.
    "serving": {"registered_model": "READ"},
}
"""Rights of the loop's own users, on everything of a kind."""

ROLES = {
    "viewer": {"experiment": "READ", "registered_model": "READ", "prompt": "READ", "scorer": "READ"},
    # Runs of all, but no alias and no tag of a model: those decide what serves.
    "operator": {"experiment": "EDIT", "registered_model": "READ", "prompt": "EDIT", "scorer": "READ"},
}
"""Rights of people by their role; an admin of MLflow needs none."""


def grant_rights(ask: Ask) -> None:
    """Grants the loop's users and the roles their rights; safe to repeat."""
    for username, rights in GRANTS.items():
        for kind, permission in rights.items():
            grant = {"username": username, "resource_type": kind, "resource_id": "*", "permission": permission}
            _ask(ask, "POST", "users/permissions/grant", grant)
    known = {role["name"]: role for role in _ask(ask, "GET", f"roles/list?workspace={WORKSPACE}").get("roles", [])}
    for name, rights in ROLES.items():
        role = known.get(name) or _ask(ask, "POST", "roles/create", {"name": name, "workspace": WORKSPACE})["role"]
        _complete_role(ask, role["id"], rights)


def grant_spans(ask: Ask, username: str) -> str:
    """Grants a user the right to send spans to one experiment, which it makes; returns the experiment's id."""
    status, found = ask("GET", f"{EXPERIMENTS_API}/experiments/get-by-name?experiment_name={TRACES}", None)
    if status == 200:
        experiment_id = str(found["experiment"]["experiment_id"])
    else:
        experiment_id = str(_ask(ask, "POST", "experiments/create", {"name": TRACES}, EXPERIMENTS_API)["experiment_id"])
    grant = {"username": username, "resource_type": "experiment", "resource_id": experiment_id, "permission": "EDIT"}
    _ask(ask, "POST", "users/permissions/grant", grant)
    return experiment_id


def _complete_role(ask: Ask, role_id: int, rights: dict[str, str]) -> None:
    listed = _ask(ask, "GET", f"roles/permissions/list?role_id={role_id}").get("role_permissions", [])
    found = {right["resource_type"]: right for right in listed if right["resource_pattern"] == "*"}
    for kind, permission in rights.items():
        right = found.get(kind)
        if right is None:
            added = {"role_id": role_id, "resource_type": kind, "resource_pattern": "*", "permission": permission}
            _ask(ask, "POST", "roles/permissions/add", added)
        elif right["permission"] != permission:
            changed = {"role_permission_id": right["id"], "permission": permission}
            _ask(ask, "PATCH", "roles/permissions/update", changed)


def _ask(ask: Ask, method: str, path: str, body: dict[str, Any] | None = None, api: str = API) -> dict[str, Any]:
    status, answer = ask(method, f"{api}/{path}", body)
    if status != 200:
        sys.exit(f"FAIL: MLflow {method} {path}: expected status 200, found {status}; its log above says why")
    return answer
