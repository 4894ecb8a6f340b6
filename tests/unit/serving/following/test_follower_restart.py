from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from serving.answering.served import Version
from serving.api.status import list_served
from serving.following import model_files
from serving.following.model_files import ModelFiles
from tests.unit.serving.follower_replica import FakeRegistry, Replica
from tests.unit.serving.onnx_files import make_classifier


def test_a_restart_without_the_registry_serves_the_last_good_version(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.aliases["champion"] = "2"
    replica.step()
    registry.is_down = registry.is_store_down = True
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "2"


def test_a_restart_after_a_refused_version_serves_the_good_one(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    registry.register("3", b"broken")
    registry.aliases["champion"] = "3"
    replica.step()
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "1"


def test_a_file_that_was_altered_on_disk_is_fetched_again(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    replica.files.path(registry.digests["1"]).write_bytes(b"altered")
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "1"
    assert registry.downloads == 2


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_model_that_was_registered_again_is_not_served_from_the_old_versions_file(
    replica: Replica, registry: FakeRegistry, tmp_path: Path, is_restarted: bool
) -> None:
    replica.step()
    if is_restarted:
        replica = Replica(tmp_path, registry)
        replica.restore()
    else:
        registry.aliases.clear()
        replica.step()
        registry.aliases["champion"] = "1"
    registry.register("1", make_classifier(answer=2))
    replica.step()
    served = replica.follower.pick("iris", wants_challenger=False)
    assert served
    assert served.identity.sha256 == registry.digests["1"]


def test_a_bad_file_under_a_number_that_serves_is_still_said_at_the_next_step(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    registry.register("1", b"broken")
    for _ in range(2):
        restarted.step()
    assert restarted.version() == "1"
    assert "ONNX" in restarted.reasons()[0]


def test_a_restart_with_the_registry_fetches_nothing_and_keeps_the_moment(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    before = list_served(replica.follower)
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    restarted.step()
    assert list_served(restarted.follower) == before
    assert (registry.downloads, restarted.reasons()) == (1, [])


def test_a_load_that_killed_the_process_once_is_tried_again(tmp_path: Path, registry: FakeRegistry) -> None:
    die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.step()
    assert restarted.version() == "1"
    assert not (tmp_path / "loading" / "one").exists()


def test_loads_that_ended_with_the_machine_condemn_no_version(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in ("first", "second", "third"):
        (tmp_path / "boot_id").write_text(f"{start}\n")
        monkeypatch.setattr(model_files, "BOOT_ID", tmp_path / "boot_id")
        die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.step()
    assert restarted.version() == "1"


def test_a_mark_of_an_older_replica_condemns_no_version(tmp_path: Path, registry: FakeRegistry) -> None:
    mark = tmp_path / "loading" / "one" / registry.digests["1"]
    mark.parent.mkdir(parents=True)
    mark.write_bytes(b"xxx")
    die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.step()
    assert restarted.version() == "1"


def test_a_load_that_killed_the_process_twice_is_not_tried_again(tmp_path: Path, registry: FakeRegistry) -> None:
    for _ in range(2):
        die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.step()
    assert restarted.version() is None
    assert "ended this process" in restarted.reasons()[0]
    registry.aliases["champion"] = "2"
    restarted.step()
    assert restarted.version() == "2"


def test_another_replica_tries_for_itself(tmp_path: Path, registry: FakeRegistry) -> None:
    for _ in range(2):
        die_while_loading(tmp_path, registry, "1")
    other = Replica(tmp_path, registry, name="two")
    other.step()
    assert other.version() == "1"


def test_two_deaths_while_a_proven_file_opens_do_not_condemn_it(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    for _ in range(2):
        die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "1"


def die_while_loading(folder: Path, registry: FakeRegistry, version: str) -> None:
    """Leaves what a process leaves that is killed while it opens a file."""
    child = os.fork()
    if child == 0:
        with ModelFiles(folder, "one").guard_load(Version("iris", version, registry.digests[version])):
            os._exit(9)
    os.waitpid(child, 0)


def test_the_version_before_stays_on_disk_and_older_files_go(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.register("3", make_classifier(answer=2))
    for version in ("1", "2", "3"):
        registry.aliases["champion"] = version
        replica.step()
        age_files(tmp_path)
    replica.files.prune(set())
    kept = {path.stem for path in (tmp_path / "files").iterdir()}
    assert kept == {registry.digests["2"], registry.digests["3"]}


def test_a_young_file_is_left_for_the_replica_that_may_be_fetching_it(replica: Replica, tmp_path: Path) -> None:
    young = replica.files.temporary_path()
    young.write_bytes(b"on its way")
    replica.files.prune(set())
    assert young.exists()
    age_files(tmp_path)
    replica.files.prune(set())
    assert not young.exists()


def age_files(folder: Path) -> None:
    long_ago = time.time() - 7200
    for path in (folder / "files").iterdir():
        os.utime(path, (long_ago, long_ago))


def test_on_a_full_disk_a_restart_serves_the_last_good_version(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
    (tmp_path / "loading").rmdir()
    (tmp_path / "loading").touch()  # so that no folder of marks can be made
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "1"


def test_a_file_that_never_served_is_not_opened_where_its_load_cannot_be_marked(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    (tmp_path / "loading").touch()
    stopped = Replica(tmp_path, registry)
    stopped.step()
    assert stopped.version() is None
    assert "loading" in stopped.reasons()[0]


def test_a_version_that_a_full_disk_did_not_remember_is_remembered_when_there_is_room(
    replica: Replica, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.step()
    registry.aliases["champion"] = "2"
    monkeypatch.setattr(replica.files, "record", refuse_to_write)
    replica.step()
    assert replica.version() == "2"
    monkeypatch.undo()
    replica.step()
    registry.is_down = True
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    assert restarted.version() == "2"


def refuse_to_write(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
