"""Whatever is altered in a set is found."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.backup.manifest import DIGEST, MANIFEST, read_manifest, write_manifest
from mlops.backup.verifying import verify_files
from mlops.errors import BackupError
from tests.unit.mlops.backup.small_set import make_set


def list_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_set_is_whole_as_it_was_made(tmp_path: Path) -> None:
    told: list[str] = []
    assert verify_files(make_set(tmp_path / "set"), told.append).objects == 2
    assert told == ["5 files", "2 objects"]


@settings(max_examples=150, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(share: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = make_set(Path(name) / "set")
        place = int(share * sum(path.stat().st_size for path in list_paths(folder)))
        for path in list_paths(folder):
            content = bytearray(path.read_bytes())
            if place < len(content):
                content[place] ^= 1 << bit
                path.write_bytes(content)
                break
            place -= len(content)
        with pytest.raises(BackupError):
            verify_files(folder, lambda _: None)


def test_each_file_that_is_missing_truncated_or_added_is_found(tmp_path: Path) -> None:
    count = len(list_paths(make_set(tmp_path / "first")))
    for number in range(count):
        for name, change in (
            ("missing", lambda path: path.unlink()),
            ("truncated", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        ):
            folder = make_set(tmp_path / f"{name}-{number}")
            change(list_paths(folder)[number])
            with pytest.raises(BackupError):
                verify_files(folder, lambda _: None)
    for name in ("databases/other.dump", "objects/ab/more"):
        folder = make_set(tmp_path / name.replace("/", "-"))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
        with pytest.raises(BackupError, match="not in the"):
            verify_files(folder, lambda _: None)


def test_a_name_that_leaves_the_set_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    text = (folder / MANIFEST).read_text().replace("catalog/mine.toml", "../outside.toml")
    (folder / MANIFEST).write_text(text)
    (folder / DIGEST).write_text(hashlib.sha256(text.encode()).hexdigest() + "\n")
    with pytest.raises(BackupError, match="within the set"):
        verify_files(folder, lambda _: None)


def test_a_set_without_a_dump_is_refused(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    (folder / "databases/airflow.dump").unlink()
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, files=[file for file in manifest.files if "airflow" not in file.name]))
    with pytest.raises(BackupError, match=r"airflow[.]dump: missing"):
        verify_files(folder, lambda _: None)


def test_a_set_of_a_newer_form_is_refused(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", format=99)
    with pytest.raises(BackupError, match="a newer version made it"):
        verify_files(folder, lambda _: None)
