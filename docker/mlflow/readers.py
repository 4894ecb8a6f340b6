"""MLflow's authorization function: basic auth, and users who can only read.

MLflow's permission READ still allows a user to make experiments and models, which locks a name for others and,
through an artifact location of the user's choice, reaches the whole object store with the server's key.
"""

from __future__ import annotations

from flask import Response, make_response, request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization

READERS = frozenset({"serving"})


def authenticate() -> Authorization | Response:
    """Logs the request's user in, and refuses every request of a reader but GET and HEAD."""
    found = authenticate_request_basic_auth()
    if isinstance(found, Authorization) and found.username in READERS and request.method not in {"GET", "HEAD"}:
        return make_response(f"the user {found.username} may only read", 403)
    return found
