from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mlops.accounts import Role
from mlops.errors import AccountError, NoAnswerError
from mlops.people import People, make_password

PASSWORD = "a-long-and-random-one"


@dataclass
class System:
    """The accounts of one system, which refuses what `refuses` names."""

    system: str
    accounts: dict[str, tuple[str, str]] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)

    def list_roles(self) -> dict[str, str]:
        return {name: role for name, (role, _) in self.accounts.items()}

    def create(self, name: str, role: Role, password: str) -> None:
        # MLflow creates a user before it sets the role, and may end in between.
        self.accounts[name] = ("", password)
        self._refuse("create")
        self.accounts[name] = (role, password)

    def set_role(self, name: str, role: Role) -> None:
        self._refuse("set_role")
        self.accounts[name] = (role, self.accounts[name][1])

    def set_password(self, name: str, password: str) -> None:
        self._refuse("set_password")
        self.accounts[name] = (self.accounts[name][0], password)

    def remove(self, name: str) -> None:
        self._refuse("remove")
        del self.accounts[name]

    def _refuse(self, what: str) -> None:
        if what in self.refuses:
            raise NoAnswerError(f"{self.system}: no answer")


@pytest.fixture
def airflow() -> System:
    return System("Airflow", {"admin": ("admin", "x")})


@pytest.fixture
def mlflow() -> System:
    return System("MLflow", {"admin": ("admin", "x"), "trainer": ("", "x"), "serving": ("", "x")})


@pytest.fixture
def people(airflow: System, mlflow: System) -> People:
    return People([airflow, mlflow], frozenset({"admin"}))


def test_a_new_person_has_the_same_account_in_both(people: People, airflow: System, mlflow: System) -> None:
    assert people.add("anna", "viewer", PASSWORD)
    assert airflow.accounts["anna"] == mlflow.accounts["anna"] == ("viewer", PASSWORD)


def test_a_repeated_command_changes_nothing(people: People, airflow: System, mlflow: System) -> None:
    people.add("anna", "viewer", PASSWORD)
    assert not people.add("anna", "viewer", "another-long-password")
    assert airflow.accounts["anna"] == mlflow.accounts["anna"] == ("viewer", PASSWORD)


def test_another_role_leaves_the_password(people: People, airflow: System, mlflow: System) -> None:
    people.add("anna", "viewer", PASSWORD)
    assert not people.add("anna", "operator", "another-long-password")
    assert airflow.accounts["anna"] == mlflow.accounts["anna"] == ("operator", PASSWORD)


@pytest.mark.parametrize("has_first", [True, False])
def test_a_missing_account_is_made_and_both_get_one_password(
    people: People, airflow: System, mlflow: System, *, has_first: bool
) -> None:
    (airflow if has_first else mlflow).accounts["anna"] = ("viewer", "old")
    assert people.add("anna", "operator", PASSWORD)
    assert airflow.accounts["anna"] == mlflow.accounts["anna"] == ("operator", PASSWORD)


def test_what_the_second_refuses_is_undone_in_both(people: People, airflow: System, mlflow: System) -> None:
    mlflow.refuses = {"create"}
    with pytest.raises(NoAnswerError, match="anna: MLflow: no answer; new accounts were undone; repeat the command"):
        people.add("anna", "viewer", PASSWORD)
    assert "anna" not in airflow.accounts
    assert "anna" not in mlflow.accounts


def test_a_failed_undoing_is_said(people: People, airflow: System, mlflow: System) -> None:
    mlflow.refuses, airflow.refuses = {"create"}, {"remove"}
    with pytest.raises(NoAnswerError, match="undoing it failed as well: Airflow: no answer; repeat the command"):
        people.add("anna", "viewer", PASSWORD)
    mlflow.refuses = airflow.refuses = set()
    assert people.add("anna", "viewer", PASSWORD)
    assert airflow.accounts["anna"] == mlflow.accounts["anna"]


def test_a_reset_password_counts_in_both(people: People, airflow: System, mlflow: System) -> None:
    people.add("anna", "viewer", PASSWORD)
    people.set_password("anna", "another-long-password")
    assert airflow.accounts["anna"] == mlflow.accounts["anna"] == ("viewer", "another-long-password")


def test_a_half_reset_password_tells_where_it_counts(people: People, mlflow: System) -> None:
    people.add("anna", "viewer", PASSWORD)
    mlflow.refuses = {"set_password"}
    with pytest.raises(NoAnswerError, match="anna: password set in Airflow alone: MLflow: no answer; repeat"):
        people.set_password("anna", "another-long-password")


def test_a_removal_can_be_repeated_after_a_failure(people: People, airflow: System, mlflow: System) -> None:
    people.add("anna", "viewer", PASSWORD)
    mlflow.refuses = {"remove"}
    with pytest.raises(NoAnswerError, match="anna: removed in Airflow alone"):
        people.remove("anna")
    mlflow.refuses = set()
    people.remove("anna")
    assert "anna" not in airflow.accounts
    assert "anna" not in mlflow.accounts


def test_a_stranger_is_neither_changed_nor_removed(people: People, airflow: System) -> None:
    with pytest.raises(AccountError, match="no account in Airflow and MLflow"):
        people.remove("anna")
    airflow.accounts["anna"] = ("viewer", "x")
    with pytest.raises(AccountError, match="no account in MLflow"):
        people.set_password("anna", PASSWORD)


@pytest.mark.parametrize("name", ["admin", "trainer", "serving", "tracer", "monitor"])
@pytest.mark.parametrize("action", ["add", "remove", "set_password"])
def test_an_account_of_the_stack_is_never_changed(people: People, airflow: System, name: str, action: str) -> None:
    before = dict(airflow.accounts)
    arguments = {"add": ("viewer", PASSWORD), "remove": (), "set_password": (PASSWORD,)}[action]
    with pytest.raises(AccountError, match="account of the stack itself"):
        getattr(people, action)(name, *arguments)
    assert airflow.accounts == before


@pytest.mark.parametrize("name", ["", "../x", "a b", "a/b", "-rf", "a" * 65, "ann\n", "ánna", "oidc_anna", "OIDC_anna"])
def test_an_odd_name_is_refused(people: People, name: str) -> None:
    with pytest.raises(AccountError, match="name "):
        people.add(name, "viewer", PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "eleven-char", "anna-anna-anna-anna", "ANNAS-long-password"])
def test_a_weak_password_is_refused_and_not_shown(people: People, airflow: System, password: str) -> None:
    with pytest.raises(AccountError, match="password: expected") as caught:
        people.add("anna", "viewer", password)
    assert not password or password not in str(caught.value)
    assert "anna" not in airflow.accounts


def test_the_list_has_people_and_shows_missing_accounts(people: People, airflow: System) -> None:
    airflow.accounts["anna"] = ("viewer", "x")
    listed = [(person.name, person.roles) for person in people.list_all()]
    assert listed == [
        ("admin", {"Airflow": "admin", "MLflow": "admin"}),
        ("anna", {"Airflow": "viewer", "MLflow": None}),
    ]


def test_a_made_password_is_long_and_another_each_time() -> None:
    assert len({make_password() for _ in range(50)}) == 50
    assert len(make_password()) >= 24
