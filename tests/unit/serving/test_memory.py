from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving import memory


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files in which a container finds its limit, of which the second is there."""
    found = tmp_path / "limit"
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "missing", found))
    monkeypatch.setattr(memory, "read_used_bytes", lambda: 300_000_000)
    return found


@pytest.mark.parametrize(("file_mb", "fits"), [(47.0, True), (48.0, False)])
def test_a_file_is_opened_where_it_fits_beside_models_and_requests(limit: Path, file_mb: float, fits: bool) -> None:
    limit.write_text("1070000000\n")
    shortage = memory.describe_shortage(int(file_mb * 1e6))
    assert (shortage is None) is fits
    if shortage:
        assert "found 300 MB in use, expected at most 294 MB of 1070 MB" in shortage


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", ""])
def test_without_a_limit_every_file_is_opened(limit: Path, text: str) -> None:
    limit.write_text(text)
    assert memory.describe_shortage(10**12) is None


def test_a_process_knows_what_it_uses() -> None:
    """In a process of its own: one that has run other tests has freed memory to use again."""
    program = """
from serving.memory import read_used_bytes
before = read_used_bytes()
held = bytearray(50_000_000)
print(read_used_bytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 45_000_000 < int(done.stdout) < 60_000_000
