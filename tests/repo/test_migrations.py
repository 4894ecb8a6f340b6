from __future__ import annotations

import hashlib
import re

from ml_code.warehouse import MIGRATIONS
from tests.repo.repository import ROOT

RELEASED = {"0.1.0": ("0016_monitor.sql", "b63ba8ba8c67c7ddba19cb275bf29791fae8f365644716b2aa717924164987d7")}
"""The newest migration of each release, and the digest of all of its migrations: databases have had them."""


def list_names() -> list[str]:
    return sorted(file.name for file in MIGRATIONS.glob("*.sql"))


def digest_up_to(newest: str) -> str:
    files = [MIGRATIONS / name for name in list_names() if name <= newest]
    return hashlib.sha256(b"\0".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)).hexdigest()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [name[:5] for name in list_names()] == [f"{number:04}_" for number in range(1, len(list_names()) + 1)]


def test_a_released_migration_is_never_changed() -> None:
    assert {release: (newest, digest_up_to(newest)) for release, (newest, _) in RELEASED.items()} == RELEASED


def test_each_release_has_its_migrations_here() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert set(re.findall(r"^## (\d\S*)", changes, flags=re.MULTILINE)) == RELEASED.keys()
