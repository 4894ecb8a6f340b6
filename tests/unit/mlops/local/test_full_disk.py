"""A full disk: a small tmpfs, which only root may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops.errors import ServiceError, StateFolderError
from mlops.local.services import Services
from mlops.local.state import MIN_FREE_MB, PORTS, StateFolder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("this root may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_start_on_a_full_disk_is_refused_with_advice(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk"),
        pytest.raises(StateFolderError, match=f"at least {MIN_FREE_MB} MB free, found 1\\d; .* `--state DIR`"),
    ):
        StateFolder(tmp_path / "disk/state").prepare()


def test_a_disk_that_becomes_full_is_reported_and_leaves_no_incomplete_database(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    with small_disk(state.path / "postgres"):
        services = Services(state, dict.fromkeys(PORTS, 1), {"PATH": os.environ["PATH"]})
        with pytest.raises(ServiceError, match="initdb: expected exit code 0") as caught:
            services.make_database_folder()
        assert "No space left on device" in str(caught.value)
        assert not (state.path / "postgres/data").exists()
