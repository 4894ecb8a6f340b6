"""The tables of docs/security.md: what a person of each role may do in Airflow and in MLflow."""

from __future__ import annotations

import secrets

from tests.integration.airflow_server import DAG

PASSWORD = secrets.token_hex(16)


RUN = f"/dags/{DAG}/dagRuns"


TASK = f"{RUN}/none/taskInstances/print_world_0"


VARIABLE = {"key": "k", "value": "v"}


CONNECTION = {"connection_id": "c", "conn_type": "http"}


AIRFLOW_CELLS: dict[str, tuple[str, str, object, str, int, int]] = {
    # Method, path, body, who may, the answer to those, and the answer to the others.
    "see DAGs": ("GET", "/dags", None, "viewer operator admin", 200, 403),
    "see the code of a DAG": ("GET", f"/dagSources/{DAG}", None, "viewer operator admin", 200, 403),
    "see runs": ("GET", RUN, None, "viewer operator admin", 200, 403),
    "see logs": ("GET", f"{TASK}/logs/1", None, "viewer operator admin", 404, 403),
    "see values between tasks": ("GET", f"{TASK}/xcomEntries", None, "viewer operator admin", 200, 403),
    "trigger a DAG": ("POST", RUN, {"logical_date": None}, "operator admin", 200, 403),
    "pause a DAG": ("PATCH", f"/dags/{DAG}", {"is_paused": False}, "operator admin", 200, 403),
    "end a run": ("PATCH", f"{RUN}/none", {"state": "failed"}, "operator admin", 404, 403),
    "retry tasks": ("POST", f"/dags/{DAG}/clearTaskInstances", {"dry_run": True}, "operator admin", 200, 403),
    "approve": ("PATCH", f"{TASK}/-1/hitlDetails", {"chosen_options": ["Approve"]}, "operator admin", 404, 403),
    "see variables": ("GET", "/variables", None, "admin", 200, 403),
    "set a variable": ("POST", "/variables", VARIABLE, "admin", 201, 403),
    "see connections": ("GET", "/connections", None, "admin", 200, 403),
    "set a connection": ("POST", "/connections", CONNECTION, "admin", 201, 403),
    "change a pool": ("PATCH", "/pools/default_pool?update_mask=slots", {"slots": 9}, "admin", 200, 403),
    "see the configuration": ("GET", "/config", None, "", 200, 403),
    "see users": ("GET", "/auth/fab/v1/users", None, "admin", 200, 403),
    "remove a user": ("DELETE", "/auth/fab/v1/users/none", None, "admin", 404, 403),
    "see roles": ("GET", "/auth/fab/v1/roles", None, "admin", 200, 403),
}


MLFLOW_CELLS: dict[str, tuple[str, str, object, str]] = {
    "see runs": ("POST", "2.0/mlflow/runs/search", {"experiment_ids": ["{experiment}"]}, "viewer operator admin"),
    "see models": ("GET", "2.0/mlflow/registered-models/get?name={model}", None, "viewer operator admin"),
    "tag a run": ("POST", "2.0/mlflow/runs/set-tag", {"run_id": "{run}", "key": "k", "value": "v"}, "operator admin"),
    "rename an experiment": (
        "POST",
        "2.0/mlflow/experiments/update",
        {"experiment_id": "{experiment}", "new_name": "{model}"},
        "operator admin",
    ),
    "tag a model": (
        "POST",
        "2.0/mlflow/registered-models/set-tag",
        {"name": "{model}", "key": "k", "value": "v"},
        "admin",
    ),
    "move an alias": (
        "POST",
        "2.0/mlflow/registered-models/alias",
        {"name": "{model}", "alias": "a", "version": "1"},
        "admin",
    ),
    "see the names of users": ("GET", "2.0/mlflow/users/list", None, "viewer operator admin"),
    "set another's role": (
        "PATCH",
        "2.0/mlflow/users/update-admin",
        {"username": "a-viewer", "is_admin": False},
        "admin",
    ),
    "make a user": ("POST", "2.0/mlflow/users/create", {"username": "x", "password": PASSWORD}, "admin"),
}
