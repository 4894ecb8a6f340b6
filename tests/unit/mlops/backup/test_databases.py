"""What a failed restore says where the server refuses its end as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.backup.databases import Postgres
from mlops.errors import BackupError


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """A server that refuses the end of each restore."""

    def refuse_end(_: Postgres, __: str, statement: str) -> list[list[str]]:
        if "NOLOGIN" in statement or "FORCE" in statement:
            raise BackupError("the server is gone")
        return []

    def cut(*_: object, **__: object) -> None:
        raise BackupError("the dump is cut")

    monkeypatch.setattr(Postgres, "ask", refuse_end)
    monkeypatch.setattr(Postgres, "_run", lambda *_, **__: b"")
    monkeypatch.setattr(Postgres, "restore", cut)
    return Postgres([], {})


def test_the_end_of_a_restore_hides_no_error_of_it(postgres: Postgres) -> None:
    with pytest.raises(BackupError, match="the dump is cut"), postgres.scratch("mlflow", Path("mlflow.dump")):
        pass


def test_an_end_that_the_server_refuses_is_an_error(postgres: Postgres) -> None:
    with pytest.raises(BackupError, match="the server is gone"), postgres.restorer("mlflow_restored"):
        pass
