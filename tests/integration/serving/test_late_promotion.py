"""A rollback while a promotion hangs in MLflow, on a real registry and Postgres: the rollback's version serves."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from mlflow import MlflowClient

from ml_code.errors import WarehouseError
from ml_code.settings import Settings
from ml_code.warehouse import Warehouse
from serving.errors import LateChangeError
from serving.registry import writer
from serving.registry.writer import MlflowRegistryWriter, start_thread
from serving.rollout import rollback
from serving.rollout.control import RolloutControl, connect_registry
from serving.rollout.plan import open_rollout
from serving.rollout.rollback import promote_by_hand, roll_back
from serving.rollout.steps import promote
from tests.integration.serving.replica import wait_until
from tests.integration.serving.slow_registry import SlowRegistry, run_slow_registry
from tests.servers import MlflowServer, PostgresServer

pytestmark = pytest.mark.filterwarnings("ignore")
"""MLflow's client warns about its own insides."""


WAYS = [*[("late", n) for n in range(8)], *[("lost", n) for n in range(7)], *[("dead", n) for n in range(5)]]


WAIT_SECONDS = 120


class Place:
    """MLflow behind its proxy, and a warehouse; who moves aliases of the model `iris` there."""

    def __init__(self, settings: Settings, server: MlflowServer, postgres: PostgresServer, proxy: SlowRegistry) -> None:
        self.database = f"late_{secrets.token_hex(4)}"
        dsn = postgres.create_database(self.database)
        Warehouse(dsn).migrate()
        secret = type(settings.mlflow_password)(dsn)
        self.settings = settings.model_copy(update={"warehouse_dsn": secret, "mlflow_url": proxy.url})
        self.proxy, self.server, self.postgres = proxy, server, postgres
        self.client = MlflowClient(server.url)
        self.client.create_registered_model("iris")
        self.run = self.client.create_run(self.client.create_experiment(self.database))
        self.connected: list[MlflowRegistryWriter] = []

    def control(self, owner: str) -> RolloutControl:
        password = self.settings.mlflow_password.get_secret_value()
        self.connected.append(MlflowRegistryWriter(self.settings.mlflow_url, "trainer", password))
        return connect_registry(self.settings, owner, registry=self.connected[-1])

    def register(self) -> str:
        source = f"{self.run.info.artifact_uri}/model"
        made = self.client.create_model_version("iris", source, self.run.info.run_id, tags={"gate": "passed"})
        return str(made.version)

    def aliases(self) -> dict[str, str]:
        return {alias: str(version) for alias, version in self.client.get_registered_model("iris").aliases.items()}

    def end_session_of_lock(self) -> None:
        """Ends what holds the lock, as Postgres does with a session that has been idle for too long."""
        with closing(psycopg2.connect(self.postgres.dsn())) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND state = %s",
                (self.database, "idle in transaction"),
            )
            assert cursor.rowcount == 1


@pytest.fixture(scope="module")
def place(stack_settings: Settings, mlflow_server: MlflowServer, postgres: PostgresServer) -> Iterator[Place]:
    username, password = mlflow_server.auth("trainer")
    with pytest.MonkeyPatch.context() as patch, run_slow_registry(mlflow_server.url) as proxy:
        patch.setenv("MLFLOW_TRACKING_USERNAME", username)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        mlflow_server.delete_models()
        place = Place(stack_settings, mlflow_server, postgres, proxy)
        for _ in range(2):
            promote_by_hand(place.control("ada@lab"), "iris", place.register(), "only a test")
        yield place
        for registry in place.connected:
            registry.close()
    mlflow_server.delete_models()


@pytest.mark.parametrize(("way", "number"), WAYS)
def test_the_version_of_a_rollback_serves_though_a_promotion_hangs(
    place: Place, way: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of 20.

    In the way `late` the promotion's caller stops waiting. In `lost` its session of the database ends meanwhile. In
    `dead` its process ends.
    """
    before, version = place.aliases()["champion"], place.register()
    driver = place.control(f"dag/{version}")
    rollout_id = open_rollout(driver, "iris", version).rollout_id
    monkeypatch.setattr(writer, "CALL_SECONDS", 30.0)
    monkeypatch.setattr(rollback, "GUARD_SECONDS", 2.0 if way == "dead" else 0.1)
    if way != "lost":
        monkeypatch.setattr(writer, "start_thread", give_up_once(place.proxy))
    if way == "dead":
        monkeypatch.setattr("serving.rollout.control.repair", lambda *_: None)
    place.proxy.hold_next()
    with ThreadPoolExecutor(2) as pool:
        promoting = pool.submit(promote, driver, rollout_id)
        assert place.proxy.is_held.wait(WAIT_SECONDS)
        if way == "lost":
            place.end_session_of_lock()
        bob = place.control("bob@lab")
        if way == "dead":
            bob = replace(bob, clock=start_clock_at_landing(place.proxy))
        rolling_back = pool.submit(roll_back, bob, "iris", "it answers nonsense")
        wait_until(lambda: _has_rolled_back(place, before), place.aliases, WAIT_SECONDS)
        assert place.aliases()["champion"] == before
        place.proxy.release.set()
        assert place.proxy.has_landed.wait(WAIT_SECONDS)
        with pytest.raises(WarehouseError if way == "lost" else LateChangeError):
            promoting.result(WAIT_SECONDS)
        assert rolling_back.result(WAIT_SECONDS).to_version == before
    assert place.aliases()["champion"] == before, f"{way} {number}"
    last = place.control("test").log.find_last_move("iris")
    assert last is not None
    assert (last.action, last.to_version) == ("rollback", before)
    assert place.control("test").rows.find_active("iris") is None


def test_postgres_takes_the_lock_from_a_process_that_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rollout.rows.HELD_SECONDS", 1)
    before, version = place.aliases()["champion"], place.register()
    driver = place.control(f"dag/{version}")
    rollout_id = open_rollout(driver, "iris", version).rollout_id

    def hang() -> None:
        with driver.hold(rollout_id) as held:
            driver.pause(2)
            promote_by_hand(place.control("ada@lab"), "iris", before, "it hangs")
            held.move_aliases("too late")

    with pytest.raises(WarehouseError, match="expected the connection to hold"):
        hang()
    assert place.aliases()["champion"] == before


def give_up_once(proxy: SlowRegistry) -> Callable[[Callable[[], None]], Callable[[float], bool]]:
    """Makes the caller whose change is held stop waiting at once, and no other caller."""
    has_given_up: list[bool] = []

    def start(call: Callable[[], None]) -> Callable[[float], bool]:
        has_ended = start_thread(call)

        def wait(seconds: float) -> bool:
            if has_given_up:
                return has_ended(seconds)
            while not has_ended(0.02):
                if proxy.is_held.is_set():
                    has_given_up.append(True)
                    return False
            return True

        return wait

    return start


def start_clock_at_landing(proxy: SlowRegistry) -> Callable[[], float]:
    """A clock that stands until the held change has landed: a guard's seconds are none of a slow machine's before."""
    landed_at: list[float] = []

    def read() -> float:
        if proxy.has_landed.is_set() and not landed_at:
            landed_at.append(time.monotonic())
        return time.monotonic() - landed_at[0] if landed_at else 0.0

    return read


def _has_rolled_back(place: Place, target: str) -> bool:
    last = place.control("test").log.find_last_move("iris")
    return last is not None and (last.action, last.to_version) == ("rollback", target)
