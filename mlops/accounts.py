"""The accounts of people in Airflow and in MLflow: the calls of both APIs, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args
from urllib.parse import quote

import httpx

from mlops.errors import AccountError, NoAnswerError
from mlops.host import Administration

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

AIRFLOW_ROLES: Mapping[str, str] = {"viewer": "Viewer", "operator": "User", "admin": "Admin"}
"""Airflow's role for each of ours; its `Op` may also read and change connections, so no person gets it here."""

SECONDS = 60.0
PAGE = 100


class Accounts(Protocol):
    """The accounts of one system."""

    system: str

    def list_roles(self) -> dict[str, str]:
        """The role of each account by its name; a role that is not ours has the system's own name."""

    def create(self, name: str, role: Role, password: str) -> None:
        """Creates an account."""

    def set_role(self, name: str, role: Role) -> None:
        """Replaces the account's roles."""

    def set_password(self, name: str, password: str) -> None:
        """Replaces the account's password."""

    def remove(self, name: str) -> None:
        """Removes an account."""


class AirflowAccounts:
    """The users of Airflow's FAB auth manager."""

    system = "Airflow"

    def __init__(self, url: str, login: tuple[str, str]) -> None:
        self._url = url
        self._login = {"username": login[0], "password": login[1]}
        self._headers: dict[str, str] = {}

    def list_roles(self) -> dict[str, str]:
        """The role of each user by name, over all pages of the list."""
        ours, found = {theirs: ours for ours, theirs in AIRFLOW_ROLES.items()}, dict[str, str]()
        while True:
            page = self._ask("GET", f"?limit={PAGE}&offset={len(found)}&order_by=id")
            for user in page["users"]:
                names = [role["name"] for role in user["roles"] or []]
                found[user["username"]] = ", ".join(ours.get(name, name) for name in names)
            if not page["users"] or len(found) >= page["total_entries"]:
                return found

    def create(self, name: str, role: Role, password: str) -> None:
        """Creates a user; Airflow demands names and an address, which nothing here uses."""
        person = {"first_name": name, "last_name": "-", "email": name if "@" in name else f"{name}@localhost"}
        self._ask("POST", "", {"username": name, "password": password, "roles": _name_role(role), **person})

    def set_role(self, name: str, role: Role) -> None:
        """Replaces the user's roles."""
        self._ask("PATCH", f"/{quote(name, safe='')}?update_mask=roles", {"roles": _name_role(role)})

    def set_password(self, name: str, password: str) -> None:
        """Replaces the password, which ends the user's sessions."""
        self._ask("PATCH", f"/{quote(name, safe='')}?update_mask=password", {"password": password})

    def remove(self, name: str) -> None:
        """Removes a user."""
        self._ask("DELETE", f"/{quote(name, safe='')}")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        if not self._headers:
            answer = _send(self.system, "POST", f"{self._url}/auth/token", json=self._login)
            self._headers = {"Authorization": f"Bearer {answer['access_token']}"}
        return _send(self.system, method, f"{self._url}/auth/fab/v1/users{path}", headers=self._headers, json=body)


class MlflowAccounts:
    """The users of MLflow's basic auth, and its roles that docker/mlflow/roles.py has granted rights."""

    system = "MLflow"

    def __init__(self, url: str, login: tuple[str, str]) -> None:
        self._url = url
        self._login = login

    def list_roles(self) -> dict[str, str]:
        """The role of each user by name."""
        users = self._ask("GET", "2.0/mlflow/users/list")["users"]
        return {user["username"]: "admin" if user["is_admin"] else _join_names(user["roles"]) for user in users}

    def create(self, name: str, role: Role, password: str) -> None:
        """Creates a user, who has no right before the role is set."""
        self._ask("POST", "2.0/mlflow/users/create", {"username": name, "password": password})
        self.set_role(name, role)

    def set_role(self, name: str, role: Role) -> None:
        """Takes the user's roles away before the new one is set."""
        self._ask("PATCH", "2.0/mlflow/users/update-admin", {"username": name, "is_admin": role == "admin"})
        held = self._ask("GET", f"3.0/mlflow/users/roles/list?username={quote(name, safe='')}")["roles"]
        for other in held:
            if other["name"] != role:
                self._ask("DELETE", "3.0/mlflow/roles/unassign", {"username": name, "role_id": other["id"]})
        if role != "admin" and role not in {other["name"] for other in held}:
            known = self._ask("GET", "3.0/mlflow/roles/list?workspace=default")["roles"]
            ids = {other["name"]: other["id"] for other in known}
            if role not in ids:
                raise AccountError(f"MLflow role {role}: expected to find it, found none; a restart of MLflow makes it")
            self._ask("POST", "3.0/mlflow/roles/assign", {"username": name, "role_id": ids[role]})

    def set_password(self, name: str, password: str) -> None:
        """Replaces the password."""
        self._ask("PATCH", "2.0/mlflow/users/update-password", {"username": name, "password": password})

    def remove(self, name: str) -> None:
        """Removes a user."""
        self._ask("DELETE", "2.0/mlflow/users/delete", {"username": name})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        return _send(self.system, method, f"{self._url}/api/{path}", auth=self._login, json=body)


def open_accounts(found: Administration) -> tuple[Accounts, ...]:
    """Opens the accounts of both systems."""
    airflow = AirflowAccounts(found.airflow_url, found.airflow_login)
    return airflow, MlflowAccounts(found.mlflow_url, found.mlflow_login)


def _name_role(role: Role) -> list[dict[str, str]]:
    return [{"name": AIRFLOW_ROLES[role]}]


def _join_names(roles: list[dict[str, str]]) -> str:
    return ", ".join(role["name"] for role in roles)


def _send(system: str, method: str, url: str, **options: Any) -> Any:
    """Sends a request and returns the JSON of the answer; an error never quotes a body, which may hold a password.

    Raises:
        NoAnswerError: the system does not answer.
        AccountError: the system refuses.
    """
    path = httpx.URL(url).path
    try:
        answer = httpx.request(method, url, timeout=SECONDS, **options)
    except httpx.TransportError as error:
        raise NoAnswerError(f"{system}: expected an answer to {method} {path}, found none: {error}") from error
    if answer.is_success:
        return answer.json() if answer.content else None
    advice = {
        401: "the admin's password of .env must be the one of the volumes",
        404: "`mlops users list` tells who exists",
    }
    raise AccountError(
        f"{system}: expected {method} {path} to succeed, found status {answer.status_code}; "
        f"{advice.get(answer.status_code, 'its log says why')}"
    )
