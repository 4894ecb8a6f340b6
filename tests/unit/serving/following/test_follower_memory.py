from __future__ import annotations

import asyncio
import ctypes
import platform
import time
from pathlib import Path

import pytest

from ml_code.heap import return_free_memory
from serving.following.follower import Follower
from serving.registry.names import CHAMPION

BLOCKS = 20_000
BLOCK_BYTES = 4_000
"""Below the size above which the C library returns every block automatically."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_what_is_free_goes_back_to_the_system() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    for block in blocks[:-1]:  # the last one prevents the heap from shrinking automatically
        library.free(block)
    before = read_resident_mb()
    return_free_memory()
    returned = before - read_resident_mb()
    library.free(blocks[-1])
    assert returned > 40


def read_resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_a_version_for_which_there_is_no_memory_is_refused_before_it_is_opened(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.memory.read_limit_bytes", lambda: 1_000)
    asyncio.run(follower.restore())
    assert not follower.slots
    assert "expected at most" in follower.failures["iris", CHAMPION].reason


@pytest.mark.parametrize(("limit", "is_passing"), [(1_000, False), (400_000_000, True)])
def test_a_shortage_that_may_pass_is_looked_at_again_soon(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, limit: int, is_passing: bool
) -> None:
    monkeypatch.setattr("serving.memory.read_limit_bytes", lambda: limit)
    monkeypatch.setattr("serving.memory.read_used_bytes", lambda: 390_000_000)
    asyncio.run(follower.restore())
    failure = follower.failures["iris", CHAMPION]
    assert (failure.retry_at - time.monotonic() < 60) is is_passing
