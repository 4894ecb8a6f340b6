from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from serving.following.follower import Follower
from tests.unit.serving.grpc_api.calls import Bench


@pytest.fixture
def bench(follower: Follower, metrics: CollectorRegistry) -> Bench:
    return Bench(follower, metrics)
