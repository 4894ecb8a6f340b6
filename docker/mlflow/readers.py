"""MLflow's authorization function: basic auth, what nobody may send, and who may only read.

A permission of MLflow alone does not stop a user from creating experiments and models, which locks a name for others.
So writing takes the role `operator`, an admin or the user `trainer`; each still needs MLflow's permission as well. The
user `tracer` sends spans, and nothing else.
"""

from __future__ import annotations

from flask import Response, g, make_response, request
from mlflow.server import auth
from surface import READS, find_refusal
from tries import Tries, limit
from werkzeug.datastructures import Authorization

READERS = frozenset({"serving"})
TRACERS = frozenset({"tracer"})
WRITERS = frozenset({"trainer"})

OPERATOR = "operator"
"""The role of MLflow whose members may write; docker/mlflow/roles.py makes it."""

ASKING_POSTS = (
    "/graphql",
    "/search",
    "/search-datasets",
    "/registered-models/get-latest-versions",
    "/traces/batchGetInfos",
    "/traces/calculate-filter-correlation",
    "/traces/metrics",
    "/ui-telemetry",
)
"""Ends of paths at which a POST reads."""

SPANS = "/v1/traces"
"""Where MLflow takes spans; its permission on the experiment in the request's header counts as well."""

OWN_PASSWORD = "/users/update-password"  # noqa: S105  a path
"""MLflow permits a change of one's own password only."""


# MLflow's own function: its other way in, beside this module's, calls it as well.
auth._authenticate_cached = limit(auth._authenticate_cached, READERS | TRACERS | WRITERS, Tries())


def authenticate() -> Authorization | Response:
    """Logs the request's user in, and refuses what this user or nobody may send."""
    found = auth.authenticate_request_basic_auth()
    if "is_guessed" in g:
        return make_response("too many wrong passwords of this user; try again in a minute", 429, {"Retry-After": "60"})
    # MLflow asks several times in a request that may go on.
    if not isinstance(found, Authorization) or "is_allowed" in g:
        return found
    refusal = find_refusal(request)
    if refusal is None and not may_send(str(found.username), request.method, request.path):
        rights = "send spans" if found.username in TRACERS else "read"
        refusal = make_response(f"the user {found.username} may only {rights}", 403)
    if refusal is not None:
        return refusal
    g.is_allowed = True
    return found


def may_send(username: str, method: str, path: str) -> bool:
    """Whether a user may send such a request at all, by the user's role."""
    if username in TRACERS:
        return method == "POST" and path == SPANS
    if method in READS or username in WRITERS:
        return True
    if username in READERS:
        return False
    if (method == "POST" and path.endswith(ASKING_POSTS)) or path.endswith(OWN_PASSWORD):
        return True
    user = auth.store.get_user(username)
    return user.is_admin or any(role.name == OPERATOR for role in auth.store.list_user_roles(user.id))
