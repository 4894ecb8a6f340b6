from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import pytest

from ml_code.model_file.onnx_model import OnnxModel
from serving.api.status import describe_readiness, list_served
from serving.following import follower as follower_module
from tests.unit.serving.follower_replica import FakeRegistry, Replica
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor

ROW = b"[[5.1, 3.5, 1.4, 0.2]]"


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
    assert answer.body == b'{"predictions":[1],"model":{"name":"iris","version":"2"},"request_id":"id"}'


def test_a_model_that_is_not_in_the_catalog_is_not_served(replica: Replica) -> None:
    replica.step()
    assert [model["name"] for model in list_served(replica.follower)] == ["iris"]
    assert not replica.follower.is_allowed("stranger")


@pytest.mark.parametrize(
    ("content", "digest", "reason"),
    [
        (make_classifier()[:-50], None, "ONNX"),
        (make_classifier()[:-50], hashlib.sha256(make_classifier()).hexdigest(), "truncated or altered"),
        (make_classifier(), "0" * 64, "truncated or altered"),
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
    assert (list_served(replica.follower), replica.follower.is_allowed("iris")) == ([], False)


def test_a_catalog_that_went_away_ends_no_model(replica: Replica) -> None:
    replica.step()
    replica.catalog = {}
    replica.step()
    assert (replica.version(), replica.follower.is_allowed("iris")) == ("1", True)


def test_a_further_model_of_a_dataset_is_served_under_its_own_name(replica: Replica, registry: FakeRegistry) -> None:
    registry.name, replica.catalog = "IrisModel", {"iris": "iris", "IrisModel": "iris"}
    replica.step()
    assert [model["name"] for model in list_served(replica.follower)] == ["IrisModel"]
    assert replica.reasons() == []


def test_a_model_file_of_another_dataset_is_refused(replica: Replica, registry: FakeRegistry) -> None:
    registry.register("1", make_mixed_regressor())
    replica.step()
    assert "found the model file of the dataset ships" in replica.reasons()[0]


def test_whatever_a_file_makes_a_library_raise_is_a_refusal(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise IndexError("from the depths of a library")

    monkeypatch.setattr("serving.following.open_models.OnnxModel", fail)
    replica.step()
    assert "from the depths" in replica.reasons()[0]


def test_a_file_that_never_opens_blocks_no_other_version(
    replica: Replica, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()

    class EndlessModel(OnnxModel):
        def replay_golden(self) -> None:
            is_over.wait(60)

    async def move_on() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("serving.following.open_models.OnnxModel", EndlessModel)
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
    registry = describe_readiness(replica.follower)["registry"]
    assert (registry["reachable"], registry["reason"]) == (False, "found nobody, expected MLflow")


def test_an_outage_is_logged_once_however_its_wording_changes(
    replica: Replica, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        registry.is_down = False
        replica.step()
        registry.is_down = True
        for reason in ("ConnectTimeout", "ConnectError", "ConnectTimeout"):
            registry.reason = reason
            replica.step()
    assert [message for message in caplog.messages if "the registry is not read" in message] == [
        "the registry is not read, what is served keeps serving: ConnectTimeout"
    ] * 2


def test_a_deleted_champion_keeps_serving_and_is_noted(replica: Replica, registry: FakeRegistry) -> None:
    replica.step()
    registry.aliases.clear()
    replica.step()
    assert replica.version() == "1"
    assert "no champion in the registry" in replica.reasons()[0]
    registry.aliases["champion"] = "1"
    replica.step()
    assert replica.reasons() == []
