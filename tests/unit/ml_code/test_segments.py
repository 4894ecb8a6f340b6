"""Segment files: each line is collected once, whatever happens to its writer."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml_code.errors import UncollectedError
from ml_code.segments import SegmentWriter, measure_folder, read_lines, take_free, write_synced


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond a size: a write first takes a part, then fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_folders(place: Path) -> tuple[Path, Path]:
    target = place / "batch"
    target.mkdir()
    return place / "segments", target


def collect(folder: Path, target: Path) -> list[bytes]:
    return [line for path in take_free(folder, target) for line in read_lines(path)[0]]


def test_a_segment_is_taken_when_its_writer_has_closed_it(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    writer = SegmentWriter(folder, "stable-a")
    writer.write(b"one\ntwo\n")
    assert take_free(folder, target) == []
    writer.close()
    assert collect(folder, target) == [b"one", b"two"]
    assert collect(folder, target) == []


def test_a_name_tells_owner_start_and_number(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "stable-a", segment_bytes=1)
    for _ in range(3):
        writer.write(b"line\n")
    names = sorted(path.name.removesuffix(".jsonl").rsplit("-", 2) for path in tmp_path.iterdir())
    assert [(owner, number) for owner, _, number in names] == [("stable-a", str(number)) for number in range(3)]
    assert all(len(start) == 13 for _, start, _ in names)


def test_old_and_large_segments_end_also_without_traffic(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    old, large = SegmentWriter(folder, "old", seconds=0), SegmentWriter(folder, "large", segment_bytes=6)
    large.write(b"12345\n")
    old.write(b"line\n")
    assert take_free(folder, target) == []
    old.rotate()
    large.rotate()
    assert sorted(collect(folder, target)) == [b"12345", b"line"]


def test_a_writer_of_the_same_name_and_time_replaces_no_segment(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    first, second = SegmentWriter(folder, "stable-a"), SegmentWriter(folder, "stable-a")
    second._began_ms = first._began_ms  # the clock was set back
    first.write(b"first\n")
    second.write(b"second\n")
    first.close()
    second.close()
    assert sorted(collect(folder, target)) == [b"first", b"second"]


def test_a_segment_whose_name_was_collected_already_waits_for_the_next_collection(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    first, second = SegmentWriter(folder, "stable-a"), SegmentWriter(folder, "stable-a")
    second._began_ms = first._began_ms
    for writer, line in ((first, b"first\n"), (second, b"second\n")):
        writer.write(line)
        writer.close()
        take_free(folder, target)
    assert [read_lines(path)[0] for path in target.iterdir()] == [[b"first"]]
    (tmp_path / "later").mkdir()
    assert collect(folder, tmp_path / "later") == [b"second"]


def test_a_line_without_its_end_is_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    assert read_lines(path) == ([b"one", b"two"], 1)
    path.write_bytes(b"one\n")
    assert read_lines(path) == ([b"one"], 0)
    path.write_bytes(b"")
    assert read_lines(path) == ([], 0)


def test_a_full_disk_takes_whole_lines_only_and_the_writer_recovers(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    writer = SegmentWriter(folder, "stable-a")
    writer.write(b"before\n")
    with full_disk(20), pytest.raises(OSError, match="File too large"):
        writer.write(b"a line that does not fit as a whole\n")
    writer.write(b"after\n")
    writer.close()
    assert [read_lines(path) for path in take_free(folder, target)] == [([b"before", b"after"], 0)]


def test_a_folder_that_cannot_be_made_is_an_error_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("a file is in the way")
    writer = SegmentWriter(tmp_path / "segments", "stable-a")
    with pytest.raises(OSError, match="File exists"):
        writer.write(b"line\n")
    (tmp_path / "segments").unlink()
    writer.write(b"line\n")
    writer.close()
    assert [read_lines(path)[0] for path in (tmp_path / "segments").iterdir()] == [[b"line"]]


def test_nothing_is_written_where_too_much_waits(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    (target / "left.jsonl").write_bytes(b"x" * 90)
    writer = SegmentWriter(folder, "stable-a", rooms=(folder, target), room_bytes=100)
    writer.write(b"0123456789\n")
    with pytest.raises(UncollectedError, match="found 101 bytes that wait"):
        writer.write(b"more\n")
    (target / "left.jsonl").unlink()
    writer._measured_at -= 5
    writer.write(b"more\n")
    writer.close()
    assert collect(folder, target) == [b"0123456789", b"more"]


def test_a_segment_is_for_its_group_too(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        SegmentWriter(tmp_path, "stable-a").write(b"line\n")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o660]


def test_what_is_written_beside_a_collection_is_collected_once(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    lines = [b"line %d" % number for number in range(400)]

    def write() -> None:
        writer = SegmentWriter(folder, "stable-a", segment_bytes=20)
        for line in lines:
            writer.write(line + b"\n")
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    found: list[bytes] = []
    while thread.is_alive():
        found += collect(folder, target) if folder.exists() else []
    found += collect(folder, target)
    assert sorted(found) == sorted(lines)


def test_a_dead_writer_leaves_its_segment_to_the_collector(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    child = os.fork()
    if not child:
        SegmentWriter(folder, "stable-a").write(b"line\n")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert collect(folder, target) == [b"line"]


def test_a_folder_is_measured_with_its_folders(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "one").write_bytes(b"12")
    (tmp_path / "inner" / "two").write_bytes(b"345")
    assert measure_folder(tmp_path) == 5
    assert measure_folder(tmp_path / "none") == 0


def test_a_link_or_a_pipe_is_no_segment(tmp_path: Path) -> None:
    folder, target = make_folders(tmp_path)
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret\n")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    assert take_free(folder, target) == []
    for path in folder.iterdir():
        with pytest.raises(OSError, match=r"no regular file|symbolic links"):
            read_lines(path)


def test_a_disk_that_is_nearly_full_takes_no_line_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_code.segments.MEASURE_SECONDS", 0.0)
    shares = [0.94, 0.95, 0.96, 0.5]
    asked: list[Path] = []

    def measure(folder: Path) -> float:
        asked.append(folder)
        return shares.pop(0)

    writer = SegmentWriter(tmp_path / "segments", "stable-a", measure_disk=measure)
    writer.write(b"one\n")
    for share in ("95%", "96%"):
        with pytest.raises(OSError, match=f"found {share} of the disk used, expected less than 95%"):
            writer.write(b"dropped\n")
    writer.write(b"two\n")
    writer.close()
    target = tmp_path / "batch"
    target.mkdir()
    assert collect(tmp_path / "segments", target) == [b"one", b"two"]
    assert asked[0] == tmp_path  # the folder is not there yet


def test_a_file_has_its_name_when_the_disk_has_its_content_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, real = tmp_path / "waiting.jsonl", list[tuple[int, bool]](), os.fsync
    path.write_bytes(b"before")

    def note(file: int) -> None:
        real(file)
        synced.append((os.fstat(file).st_ino, path.read_bytes() == b"line\n"))

    monkeypatch.setattr(os, "fsync", note)
    write_synced(path, b"line\n")
    assert synced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
    assert [one.name for one in tmp_path.iterdir()] == ["waiting.jsonl"]
