"""People of the stack: each has one account in Airflow and one in MLflow, with the same role and password."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlops.accounts import Accounts, Role
from mlops.errors import AccountError, LocalStackError

LEAST_PASSWORD = 12
"""MLflow refuses shorter ones."""

SINGLE_SIGN_ON = "oidc_"
"""Begins the names of people whom another system signs in; docker/airflow/webserver_config.py sets it."""

PARTS_OF_THE_STACK = frozenset({"trainer", "serving", "tracer", "monitor"})
"""Accounts of programs: three of MLflow, and one of Airflow."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Person:
    """A name and its role in each system, by the system's name; None where the account is missing."""

    name: str
    roles: dict[str, str | None]


class People:
    """The accounts of both systems, changed together.

    Args:
        systems: the accounts of each system.
        kept: names that .env and the stack itself use, which no command here changes.
    """

    def __init__(self, systems: Sequence[Accounts], kept: frozenset[str] = frozenset()) -> None:
        self._systems = systems
        self._kept = kept | PARTS_OF_THE_STACK

    def list_all(self) -> list[Person]:
        """Everybody but the stack's own accounts, by name."""
        found = {system.system: system.list_roles() for system in self._systems}
        names = sorted({name for roles in found.values() for name in roles} - PARTS_OF_THE_STACK)
        return [Person(name, {system: roles.get(name) for system, roles in found.items()}) for name in names]

    def add(self, name: str, role: Role, password: str) -> bool:
        """Gives a person this role in both systems; safe to repeat.

        Returns:
            Whether the password is the person's now: the password of a person with both accounts stays.

        Raises:
            AccountError: the name cannot be used, or one system refused; then what was done before is undone.
            NoAnswerError: one system does not answer; the same.
        """
        self._refuse_name(name)
        check_password(name, password)
        before = {system.system: system.list_roles().get(name) for system in self._systems}
        is_new, undo = None in before.values(), list[Callable[[], None]]()
        for system in self._systems:
            try:
                if before[system.system] is None:
                    undo.append(lambda system=system: _remove_if_there(system, name))  # type: ignore[misc]
                    system.create(name, role, password)
                    continue
                if before[system.system] != role:
                    system.set_role(name, role)
                if is_new:
                    system.set_password(name, password)
            except LocalStackError as error:
                raise type(error)(f"{name}: {error}; {_undo(undo)}; repeat the command") from error
        return is_new

    def set_password(self, name: str, password: str) -> None:
        """Replaces a person's password in both systems; safe to repeat.

        Raises:
            AccountError: the person is missing in a system, or a system refused.
            NoAnswerError: a system does not answer.
        """
        self._refuse_name(name)
        check_password(name, password)
        self._refuse_stranger(name, missing_in=all)
        self._change("password set", name, lambda system: system.set_password(name, password))

    def remove(self, name: str) -> None:
        """Removes a person from both systems; safe to repeat.

        Raises:
            AccountError: no system has the person, or one refused.
            NoAnswerError: one does not answer.
        """
        self._refuse_name(name)
        self._refuse_stranger(name, missing_in=any)
        self._change("removed", name, lambda system: _remove_if_there(system, name))

    def _change(self, what: str, name: str, change: Callable[[Accounts], None]) -> None:
        done = list[str]()
        for system in self._systems:
            try:
                change(system)
            except LocalStackError as error:
                so_far = f"{what} in {', '.join(done)} alone" if done else "nothing changed"
                raise type(error)(f"{name}: {so_far}: {error}; repeat the command") from error
            done.append(system.system)

    def _refuse_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise AccountError(f"name {name!r}: expected up to 64 letters, digits and ._@+-, found another form")
        if name.lower().startswith(SINGLE_SIGN_ON):
            raise AccountError(
                f"name {name}: found the beginning {SINGLE_SIGN_ON}, which single sign-on uses; take another"
            )
        if name in self._kept:
            raise AccountError(f"name {name}: found an account of the stack itself, expected a person's; .env sets it")

    def _refuse_stranger(self, name: str, *, missing_in: Callable[[Sequence[bool]], bool]) -> None:
        """Refuses a name that too few systems know: `all` of them must, or `any`."""
        knows = {system.system: name in system.list_roles() for system in self._systems}
        if not missing_in(list(knows.values())):
            unknown = " and ".join(system for system, is_known in knows.items() if not is_known)
            raise AccountError(f"name {name}: found no account in {unknown}, expected one; `mlops users add` makes it")


def make_password() -> str:
    """Makes a random password of 144 bits."""
    return secrets.token_urlsafe(18)


def check_password(name: str, password: str) -> None:
    """Checks what a person chose.

    Raises:
        AccountError: it is short, or holds the name.
    """
    if len(password) < LEAST_PASSWORD:
        raise AccountError(f"password: expected at least {LEAST_PASSWORD} characters, found {len(password)}")
    if name.lower() in password.lower():
        raise AccountError("password: expected one without the person's name, found the name in it")


def _undo(steps: list[Callable[[], None]]) -> str:
    try:
        for step in reversed(steps):
            step()
    except LocalStackError as error:
        return f"undoing it failed as well: {error}"
    return "new accounts were undone"


def _remove_if_there(system: Accounts, name: str) -> None:
    if name in system.list_roles():
        system.remove(name)
