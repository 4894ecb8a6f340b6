"""A folder in the place of a bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ml_code.settings import Settings
from ml_code.storage import Storage


def test_writers_of_one_object_do_not_take_each_others_and_leave_one_whole(settings: Settings, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    uri = str(tmp_path / "store" / "object")

    def write(content: bytes) -> None:
        for _ in range(50):
            Storage(settings).write_bytes(uri, content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert Storage(settings).read_bytes(uri) in contents
    assert [file.name for file in (tmp_path / "store").iterdir()] == ["object"]
