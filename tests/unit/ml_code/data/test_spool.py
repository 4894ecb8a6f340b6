from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ml_code.data import spool
from ml_code.data.spool import open_spool, refuse_full
from ml_code.errors import StorageError


def test_a_spool_goes_with_its_training(tmp_path: Path) -> None:
    with open_spool(tmp_path) as folder:
        (folder / "rows").write_bytes(b"1")
    assert list(tmp_path.iterdir()) == []


def test_the_spool_of_a_killed_training_goes_with_the_next_one_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    program = f"import os; from ml_code.data.spool import *; s = open_spool(Path({str(tmp_path)!r})); s.__enter__()"
    subprocess.run([sys.executable, "-c", f"{program}; os.kill(os.getpid(), 9)"], check=False)
    [left] = tmp_path.iterdir()
    with open_spool(tmp_path) as running, open_spool(tmp_path) as other:
        assert set(tmp_path.iterdir()) == {running, other}
        assert left not in {running, other}


def test_spools_that_are_opened_at_once_do_not_remove_each_other(tmp_path: Path) -> None:
    """Each of four processes opens and removes spools as fast as it can, and expects its own to be there."""
    program = f"""
from pathlib import Path
from ml_code.data.spool import open_spool
for _ in range(100):
    with open_spool(Path({str(tmp_path)!r})) as folder:
        (folder / "rows").write_bytes(b"1")
"""
    running = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [""] * 4
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_left_or_locks_holds_nobody_up(tmp_path: Path) -> None:
    """In /tmp anybody may make a folder of this name. A pipe in it would be opened forever."""
    foreign = tmp_path / "mlops-spool-foreign"
    foreign.mkdir()
    os.mkfifo(foreign / "lock")
    link = tmp_path / "mlops-spool-link"
    link.symlink_to(foreign)
    program = f"""
import os
from pathlib import Path
from ml_code.data.spool import open_spool
os.geteuid = lambda: {os.geteuid() + 1}
with open_spool(Path({str(tmp_path)!r})):
    pass
"""
    parent = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(parent, fcntl.LOCK_EX)
    try:
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    finally:
        os.close(parent)
    assert set(tmp_path.iterdir()) == {foreign, link}
    assert list(foreign.iterdir()) == [foreign / "lock"]


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="found no space left on its disk"), open_spool(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_the_disk_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    with open_spool(tmp_path) as folder, pytest.raises(StorageError, match="GB free, expected 1000000000"):
        refuse_full(folder, 10**18)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="set MLOPS_SPOOL_DIR"), open_spool(tmp_path / "nowhere"):
        pass


def test_a_container_without_a_volume_for_it_uses_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ON_DISK", tmp_path / "read-only")
    with open_spool() as folder:
        assert folder.parent == Path(tempfile.gettempdir())
