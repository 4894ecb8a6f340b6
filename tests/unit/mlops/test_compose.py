"""The project of a checkout: who may change its containers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlops.compose import claim
from mlops.errors import EngineError


def test_a_second_command_at_once_is_refused(tmp_path: Path) -> None:
    told = r"found one that runs; wait for its end"
    with claim(tmp_path), pytest.raises(EngineError, match=told), claim(tmp_path):
        pass
    with claim(tmp_path):
        pass


def test_a_share_without_locks_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    told = r"expected a file system with locks, found No locks available; move the checkout"
    with pytest.raises(EngineError, match=told), claim(tmp_path):
        pass
