from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_code.onnx_model import OnnxModel
from serving import follower as follower_module
from serving.errors import RefusedModelError, RegistryError
from serving.follower import Follower
from serving.model_files import ModelFiles
from serving.registry import RegisteredModel
from serving.served import Version
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

ROW = b"[[5.1, 3.5, 1.4, 0.2]]"


class FakeRegistry:
    """A registry in memory, whose link and files a test may break."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.canary_until: datetime | None = None
        self.is_down = False
        self.is_store_down = False
        self.downloads = 0

    def register(self, version: str, content: bytes, digest: str | None = None) -> None:
        self.files[version] = content
        self.digests[version] = digest or hashlib.sha256(content).hexdigest()

    async def read_models(self) -> Mapping[str, RegisteredModel]:
        if self.is_down:
            raise RegistryError("found nobody, expected MLflow")
        model = RegisteredModel(dict(self.aliases), self.canary_until)
        return {"iris": model, "stranger": RegisteredModel({"champion": "1"})}

    async def read_digest(self, name: str, version: str) -> str:
        if version not in self.digests:
            raise RefusedModelError("found no tag sha256")
        return self.digests[version]

    async def download(self, name: str, version: str, target: Path, limit_bytes: int) -> str:
        self.downloads += 1
        if self.is_store_down:
            target.write_bytes(self.files[version][:100])
            raise RegistryError("the stream broke off")
        target.write_bytes(self.files[version])
        return hashlib.sha256(self.files[version]).hexdigest()


class Replica:
    """A follower with its files; making another one of the same folder and name is a restart."""

    def __init__(self, folder: Path, registry: FakeRegistry, *, pool: str = "stable", name: str = "one") -> None:
        self.files = ModelFiles(folder, name)
        self.catalog = {"iris": "iris"}
        self.follower = Follower(
            registry, self.files, pool=pool, read_allowed=lambda: self.catalog, limit_bytes=10_000_000
        )

    def step(self) -> None:
        asyncio.run(self.follower.step())

    def restore(self) -> None:
        asyncio.run(self.follower.restore())

    def version(self, *, wants_challenger: bool = False) -> str | None:
        served = self.follower.pick("iris", wants_challenger=wants_challenger)
        return served.identity.version if served else None

    def reasons(self) -> list[str]:
        problems: list[dict[str, str]] = self.follower.describe()["problems"]
        return [problem["reason"] for problem in problems]


@pytest.fixture
def registry() -> FakeRegistry:
    registry = FakeRegistry()
    registry.register("1", make_classifier(answer=0))
    registry.register("2", make_classifier(answer=1))
    registry.aliases["champion"] = "1"
    return registry


@pytest.fixture
def replica(tmp_path: Path, registry: FakeRegistry) -> Replica:
    return Replica(tmp_path, registry)


def test_a_new_replica_is_not_ready_until_it_holds_a_champion(replica: Replica) -> None:
    assert not replica.follower.is_ready
    replica.step()
    assert replica.follower.is_ready
    assert replica.version() == "1"


def test_another_champion_is_served_after_one_step(replica: Replica, registry: FakeRegistry) -> None:
    replica.step()
    registry.aliases["champion"] = "2"
    replica.step()
    served = replica.follower.pick("iris", wants_challenger=False)
    assert served
    answer = asyncio.run(served.answer(ROW, b"id", with_probabilities=False))
    assert answer == b'{"predictions":[1],"model":{"name":"iris","version":"2"},"request_id":"id"}'


def test_a_model_that_is_not_in_the_catalog_is_not_served(replica: Replica) -> None:
    replica.step()
    assert [model["name"] for model in replica.follower.summaries()] == ["iris"]
    assert not replica.follower.is_allowed("stranger")


@pytest.mark.parametrize(
    ("content", "digest", "reason"),
    [
        (make_classifier()[:-50], None, "ONNX"),
        (make_classifier()[:-50], hashlib.sha256(make_classifier()).hexdigest(), "cut off or altered"),
        (make_classifier(), "0" * 64, "cut off or altered"),
        (make_classifier(golden_predictions=[2, 2, 2]), None, "golden row 0"),
    ],
    ids=["truncated before it was registered", "truncated after", "altered", "other golden answers"],
)
def test_a_bad_file_is_refused_and_the_old_version_serves(
    replica: Replica, registry: FakeRegistry, content: bytes, digest: str | None, reason: str
) -> None:
    replica.step()
    registry.register("3", content, digest)
    registry.aliases["champion"] = "3"
    replica.step()
    assert replica.version() == "1"
    assert reason in replica.reasons()[0]


def test_a_dataset_that_left_the_catalog_is_not_listed_any_more(replica: Replica) -> None:
    replica.step()
    replica.catalog = {"ships": "ships"}
    replica.step()
    assert (replica.follower.summaries(), replica.follower.is_allowed("iris")) == ([], False)


def test_a_catalog_that_went_away_ends_no_model(replica: Replica) -> None:
    replica.step()
    replica.catalog = {}
    replica.step()
    assert (replica.version(), replica.follower.is_allowed("iris")) == ("1", True)


def test_a_model_file_of_another_dataset_is_refused(replica: Replica, registry: FakeRegistry) -> None:
    registry.register("1", make_mixed_regressor())
    replica.step()
    assert "found the model file of the dataset ships" in replica.reasons()[0]


def test_whatever_a_file_makes_a_library_raise_is_a_refusal(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise IndexError("from the depths of a library")

    monkeypatch.setattr(follower_module, "OnnxModel", fail)
    replica.step()
    assert "from the depths" in replica.reasons()[0]


def test_a_file_that_opens_for_ever_holds_up_no_other_version(
    replica: Replica, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()

    class EndlessModel(OnnxModel):
        def replay_golden(self) -> None:
            is_over.wait(10)

    async def move_on() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(follower_module, "OnnxModel", EndlessModel)
            patch.setattr(follower_module, "LOAD_SECONDS", 0.2)
            await replica.follower.step()
        reasons.extend(replica.reasons())
        registry.aliases["champion"] = "2"
        await replica.follower.step()
        is_over.set()

    reasons: list[str] = []
    asyncio.run(move_on())
    assert "still opens after" in reasons[0]
    assert replica.version() == "2"


def test_a_refused_version_is_not_fetched_again_at_every_step(replica: Replica, registry: FakeRegistry) -> None:
    registry.register("1", make_classifier(), "0" * 64)
    for _ in range(3):
        replica.step()
    assert registry.downloads == 1


def test_a_version_without_a_digest_is_refused(replica: Replica, registry: FakeRegistry) -> None:
    del registry.digests["1"]
    replica.step()
    assert replica.version() is None
    assert "sha256" in replica.reasons()[0]


def test_a_good_version_after_a_refused_one_clears_the_reason(replica: Replica, registry: FakeRegistry) -> None:
    registry.register("1", b"broken")
    replica.step()
    registry.aliases["champion"] = "2"
    replica.step()
    assert (replica.version(), replica.reasons()) == ("2", [])


def test_a_broken_download_is_tried_again(
    replica: Replica, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(follower_module, "UNREACHED_SECONDS", 0.0)
    registry.is_store_down = True
    replica.step()
    assert replica.version() is None
    assert list((tmp_path / "files").iterdir()) == []
    registry.is_store_down = False
    replica.step()
    assert replica.version() == "1"


def test_without_its_registry_a_replica_keeps_serving_and_says_so(replica: Replica, registry: FakeRegistry) -> None:
    replica.step()
    registry.is_down = True
    replica.step()
    assert replica.version() == "1"
    assert replica.follower.describe()["registry"] == {
        "reachable": False,
        "reason": "found nobody, expected MLflow",
    }


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


def test_a_deleted_champion_keeps_serving_and_is_noted(replica: Replica, registry: FakeRegistry) -> None:
    replica.step()
    registry.aliases.clear()
    replica.step()
    assert replica.version() == "1"
    assert "no champion in the registry" in replica.reasons()[0]
    registry.aliases["champion"] = "1"
    replica.step()
    assert replica.reasons() == []


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_model_that_was_registered_anew_is_not_taken_for_the_old_version_of_its_number(
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
    before = replica.follower.summaries()
    restarted = Replica(tmp_path, registry)
    restarted.restore()
    restarted.step()
    assert restarted.follower.summaries() == before
    assert (registry.downloads, restarted.reasons()) == (1, [])


def test_a_load_that_killed_the_process_is_not_tried_again(tmp_path: Path, registry: FakeRegistry) -> None:
    die_while_loading(tmp_path, registry, "1")
    restarted = Replica(tmp_path, registry)
    restarted.step()
    assert restarted.version() is None
    assert "ended this process" in restarted.reasons()[0]
    registry.aliases["champion"] = "2"
    restarted.step()
    assert restarted.version() == "2"


def test_another_replica_tries_for_itself(tmp_path: Path, registry: FakeRegistry) -> None:
    die_while_loading(tmp_path, registry, "1")
    other = Replica(tmp_path, registry, name="two")
    other.step()
    assert other.version() == "1"


def test_a_power_cut_while_a_proven_file_opens_does_not_condemn_it(
    replica: Replica, registry: FakeRegistry, tmp_path: Path
) -> None:
    replica.step()
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


def test_a_stable_replica_never_holds_the_challenger(replica: Replica, registry: FakeRegistry) -> None:
    open_canary(registry)
    replica.step()
    assert replica.version(wants_challenger=True) == "1"


def test_a_canary_replica_answers_with_the_challenger_only_when_asked(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    assert (canary.version(), canary.version(wants_challenger=True)) == ("1", "2")
    assert [model["variant"] for model in canary.follower.summaries()] == ["challenger", "champion"]


def test_a_canary_ends_by_itself_also_without_a_registry(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.canary_until = datetime.now(UTC) + timedelta(seconds=0.2)
    canary.step()
    registry.is_down = True
    time.sleep(0.3)
    assert canary.version(wants_challenger=True) == "1"


def test_a_challenger_whose_time_is_over_leaves_memory(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    registry.canary_until = datetime.now(UTC) - timedelta(seconds=1)
    canary.step()
    assert list(canary.follower.slots) == [("iris", "champion")]


def test_a_promoted_challenger_needs_no_second_load(tmp_path: Path, registry: FakeRegistry) -> None:
    open_canary(registry)
    canary = Replica(tmp_path, registry, pool="canary")
    canary.step()
    challenger = canary.follower.pick("iris", wants_challenger=True)
    registry.aliases = {"champion": "2"}
    canary.step()
    champion = canary.follower.pick("iris", wants_challenger=False)
    assert champion
    assert challenger
    assert champion.model is challenger.model
    assert champion.variant == "champion"


def open_canary(registry: FakeRegistry) -> None:
    registry.aliases["challenger"] = "2"
    registry.canary_until = datetime.now(UTC) + timedelta(minutes=1)
