"""One version after another on a replica: it keeps its memory, threads and open files, and answers meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import onnx
import psutil
import pytest

from serving.rollout.rollback import promote_by_hand
from tests.integration.serving.replica import Replica, wait_until
from tests.integration.serving.rollout_stack import RolloutStack
from tests.unit.serving.onnx_files import make_classifier

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""

WARM = 5
"""Versions after which a replica has opened what it keeps."""

REQUESTS = 20
GROWTH = 1.1
SPARE_FILES = 4
"""Connections to MLflow and of clients come and go."""


@dataclass(frozen=True)
class Usage:
    """What a replica's process uses."""

    memory_mb: float
    threads: int
    files: int


def measure(replica: Replica) -> Usage:
    process = psutil.Process(replica.process_id)
    with process.oneshot():
        return Usage(process.memory_info().rss / 1e6, process.num_threads(), process.num_fds())


def make_version(number: int) -> bytes:
    """A file of its own, so that a replica fetches and opens it."""
    model = onnx.load_from_string(make_classifier())
    model.doc_string = f"version {number}"
    content: bytes = model.SerializeToString()
    return content


def serve(stack: RolloutStack, number: int) -> None:
    version = stack.register(make_version(number))
    promote_by_hand(stack.control("ada@lab"), "iris", version, "the next one")
    with httpx.Client(timeout=20) as client:
        for _ in range(REQUESTS):
            answer = client.post(f"{stack.gateway.url}/predict", json=[[5.1, 3.5, 1.4, 0.2]])
            assert answer.status_code == 200, answer.text
    wait_until(lambda: stack.served()["stable"].get("champion") == version, stack.served)


@pytest.mark.long
@pytest.mark.parametrize("versions", [10, 50])
def test_a_replica_that_serves_one_version_after_another_grows_no_further(
    rollout_stack: RolloutStack, versions: int
) -> None:
    stack = rollout_stack
    first = stack.register(make_version(0))
    promote_by_hand(stack.control("ada@lab"), "iris", first, "the first one")
    wait_until(lambda: set(stack.served()["stable"].values()) == {first}, stack.served)
    usages: list[Usage] = []
    for number in range(1, versions + 1):
        serve(stack, number)
        usages.append(measure(stack.stable))
    warm, last = usages[WARM - 1], usages[-1]
    assert last.threads <= max(usage.threads for usage in usages[:WARM]), usages
    assert last.files <= max(usage.files for usage in usages[:WARM]) + SPARE_FILES, usages
    assert last.memory_mb <= GROWTH * warm.memory_mb, usages
