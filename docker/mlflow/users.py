"""Creates the users `trainer` and `serving` through MLflow's REST API, with passwords, rights and roles.

The user `tracer`, who sends spans, is created where it has a password.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from roles import grant_rights, grant_spans

URL = f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT', '5000')}"
TRACER = "tracer"
START_SECONDS = 900
ANSWER_SECONDS = 60
MLFLOW = os.getppid()
"""start.sh starts this script and then becomes the server, in the same process."""


def call(
    method: str, path: str, login: tuple[str, str], body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Calls the API, retries while there is no response, and returns the HTTP status and the answer."""
    token = base64.b64encode(":".join(login).encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            asked = urllib.request.Request(URL + path, data, headers, method=method)  # noqa: S310  a constant address
            with urllib.request.urlopen(asked, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                return int(answer.status), json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, {}
        except OSError:
            if os.getppid() != MLFLOW:
                sys.exit("FAIL: MLflow: expected it to come up, found that it ended; its log above says why")
            time.sleep(0.5)
    sys.exit(f"FAIL: MLflow: expected an answer to {path} within {START_SECONDS} s, found none; its log above says why")


def request(method: str, path: str, login: tuple[str, str], body: dict[str, Any] | None = None) -> int:
    """Calls the API and returns the HTTP status alone."""
    return call(method, path, login, body)[0]


def ensure_user(admin: tuple[str, str], name: str, password: str) -> str:
    """Creates the user or sets its password. Returns the action: created, found, or password set."""
    api = "/api/2.0/mlflow/users"
    if request("GET", f"{api}/get?username={name}", admin) == 404:
        status = request("POST", f"{api}/create", admin, {"username": name, "password": password})
        done = "created"
    # 403: the password is right, and the user may not read.
    elif request("GET", f"{api}/get?username={name}", (name, password)) in {200, 403}:
        return "found"
    else:
        status = request("PATCH", f"{api}/update-password", admin, {"username": name, "password": password})
        done = "password set"
    if status != 200:
        sys.exit(f"FAIL: MLflow user {name}: expected status 200, found {status}; its log above says why")
    return done


def main() -> None:
    """Waits for the server, checks the admin's password, and creates or updates the other users."""
    admin = (os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"])
    status = request("GET", f"/api/2.0/mlflow/users/get?username={admin[0]}", admin)
    if status == 401:
        sys.exit(
            f"FAIL: MLflow user {admin[0]}: expected MLFLOW_ADMIN_PASSWORD of .env to log in, found status {status}. "
            "If the volume is older than this .env, put the old password back, or delete all data: "
            "docker compose down -v"
        )
    if status != 200:
        sys.exit(f"FAIL: MLflow user {admin[0]}: expected status 200, found {status}; its log above says why")
    for name in ("trainer", "serving"):
        print(f"user {name}: {ensure_user(admin, name, os.environ[f'MLFLOW_{name.upper()}_PASSWORD'])}")
    grant_rights(lambda method, path, body: call(method, path, admin, body))
    print("rights and roles: granted")
    if password := os.environ.get("MLFLOW_TRACER_PASSWORD"):
        print(f"user {TRACER}: {ensure_user(admin, TRACER, password)}")
        experiment_id = grant_spans(lambda method, path, body: call(method, path, admin, body), TRACER)
        print(f"traces: x-mlflow-experiment-id={experiment_id}")


if __name__ == "__main__":
    main()
