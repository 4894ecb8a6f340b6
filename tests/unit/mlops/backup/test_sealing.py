"""The settings in a set open with their passphrase alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.backup.sealing import MAGIC, SEALED, seal, unseal
from mlops.errors import BackupError

FILES = {"env": b"AIRFLOW_FERNET_KEY=abc\n", "docker/nginx/secrets/tokens": b"a:b\n"}


def test_what_is_sealed_opens_again_and_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / SEALED).write_bytes(seal(FILES, "right"))
    assert unseal(tmp_path, "right") == FILES
    assert b"FERNET" not in (tmp_path / SEALED).read_bytes()
    assert seal(FILES, "right") != seal(FILES, "right")


def test_another_passphrase_is_refused(tmp_path: Path) -> None:
    (tmp_path / SEALED).write_bytes(seal(FILES, "right"))
    with pytest.raises(BackupError, match="set BACKUP_PASSPHRASE"):
        unseal(tmp_path, "wrong")


@pytest.mark.parametrize("place", [0, len(MAGIC), len(MAGIC) + 20, len(MAGIC) + 30, -1])
def test_an_altered_byte_is_refused(tmp_path: Path, place: int) -> None:
    content = bytearray(seal(FILES, "right"))
    content[place] ^= 1
    (tmp_path / SEALED).write_bytes(content)
    with pytest.raises(BackupError):
        unseal(tmp_path, "right")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / SEALED).write_bytes(seal(FILES, "right")[:30])
    with pytest.raises(BackupError):
        unseal(tmp_path, "right")


def test_a_set_without_settings_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="made without BACKUP_PASSPHRASE"):
        unseal(tmp_path, "right")
