"""What a rollout works with, and how a process gets hold of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_code.errors import SettingsError, WarehouseError
from ml_code.model_file.spec import LARGEST_FILE_MB
from ml_code.settings import Settings, load_settings
from ml_code.signature import Signer, find_signer
from ml_code.warehouse import open_warehouse
from ml_code.workspace import open_workspace
from serving.errors import BreachError, InconclusiveError, MovedByHandError
from serving.fleet.access import read_access
from serving.fleet.gateway import Gateway, HttpGateway
from serving.fleet.replicas import DnsFleet, Fleet
from serving.registry.writer import MlflowRegistryWriter, RegistryWriter
from serving.rollout.fence import Change, FencedRegistry, repair
from serving.rollout.held import HeldRollout, explain_loss
from serving.rollout.promotion_log import PromotionLog, WarehouseLog
from serving.rollout.rows import Kind, RolloutRows, State, WarehouseRollouts
from serving.settings import RolloutSettings

if TYPE_CHECKING:
    from ml_code.gate.holdout_rows import HoldoutRows


@dataclass(frozen=True, slots=True)
class RolloutControl:
    """The registry, the logs, the replicas and the gateway; and who drives the rollout.

    `owner` is the program: a run of a DAG, or a command on a machine. `person` has signed in, and started it.
    """

    registry: RegistryWriter
    log: PromotionLog
    rows: RolloutRows
    fleet: Fleet
    gateway: Gateway
    read_holdout: Callable[[str, str], HoldoutRows]
    owner: str
    run_url: str | None = None
    person: str | None = None
    timeout_seconds: float = 120.0
    lease_seconds: float = 120.0
    limit_bytes: int = LARGEST_FILE_MB * 1_000_000
    catalog_dir: Path | None = None
    signer: Signer | None = None
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @property
    def who(self) -> str:
        """Whom the logs name: the person and their program, or the program alone."""
        return f"{self.person} ({self.owner})" if self.person else self.owner

    @contextmanager
    def hold(self, rollout_id: int) -> Iterator[HeldRollout]:
        """Keeps every other process from moving the model's aliases, as long as the rollout is still ours.

        Raises:
            RolloutLostError: it has ended, or another run drives it.
        """
        with self.lock(self.rows.read(rollout_id).model) as locked:
            yield locked.read_own(rollout_id)

    @contextmanager
    def lock(self, model: str) -> Iterator[RolloutControl]:
        """Keeps every other process from moving the model's aliases; yields what works under the lock.

        A change that the lock did not cover to its end is repaired afterwards.
        """
        changes: list[Change] = []
        is_lost = False
        try:
            with self.rows.lock(model) as prove:
                yield replace(self, registry=FencedRegistry(self.registry, prove, self.clock, changes))
        except WarehouseError:
            is_lost = True
            raise
        finally:
            if (is_lost and changes) or any(change.late for change in changes):
                repair(self, model, changes)

    def read_own(self, rollout_id: int) -> HeldRollout:
        """The rollout, if it is active and ours; without the lock, for a step that takes long.

        Raises:
            RolloutLostError: it is not.
        """
        found = self.rows.read(rollout_id)
        if found.ended_at is not None or found.owner != self.owner:
            raise explain_loss(found)
        return HeldRollout(self, found)

    def find_newest_passed(self, model: str) -> str | None:
        """The newest version that passed the gate, that no rollout has failed and no rollback has taken back.

        The warehouse says which ones were: whoever writes tags in MLflow may set or delete one.
        """
        return self.registry.find_newest_passed(model, self.rows.list_barred(model))

    def find_active(self, model: str) -> HeldRollout | None:
        """The rollout of the model that has not ended, whoever drives it; the caller holds the model's lock."""
        found = self.rows.find_active(model)
        return None if found is None else HeldRollout(self, found)

    def open(self, model: str, kind: Kind, *, from_version: str | None, to_version: str, state: State) -> HeldRollout:
        """Adds the active row of a model that has none, in the name of this owner."""
        opened = self.rows.open(
            model,
            kind=kind,
            from_version=from_version,
            to_version=to_version,
            state=state,
            owner=self.owner,
            who=self.who,
            run_url=self.run_url,
            lease_seconds=self.lease_seconds,
        )
        return HeldRollout(self, opened)

    def abort(self, rollout_id: int, breach: BreachError) -> None:
        """Ends a rollout whose version must not serve, and tags the version where it is to blame.

        Raises:
            RolloutLostError: it has ended, or another run drives it.
        """
        state: State = "inconclusive" if isinstance(breach, InconclusiveError) else "aborted"
        with self.hold(rollout_id) as held:
            held.abort(str(breach), state=state, is_verdict=not isinstance(breach, MovedByHandError))


def connect(
    owner: str, run_url: str | None = None, person: str | None = None, settings: RolloutSettings | None = None
) -> RolloutControl:
    """Connects to the registry, the warehouse, the replicas and the gateway that the environment names.

    Args:
        owner: the program that drives the rollout: a DAG and its run.
        run_url: where its run is seen.
        person: who started the run; None where an event did.
        settings: instead of the environment's.

    Raises:
        SettingsError: it names no warehouse.
    """
    settings, common = settings or RolloutSettings(), load_settings()
    signer = find_signer(common)
    if signer is None:
        raise SettingsError(
            "settings: found no MLOPS_GATE_SIGNING_KEY, expected the key with which the gate signs; `make env` adds "
            "GATE_SIGNING_KEY to .env, then `make up`; without Docker `mlops local down`, then `mlops local up`"
        )
    canary_hosts = [settings.canary_host] if settings.canary_host else []
    return connect_registry(
        common,
        owner,
        registry=MlflowRegistryWriter(
            settings.mlflow_url, settings.mlflow_username, settings.mlflow_password.get_secret_value(), signer
        ),
        fleet=DnsFleet([settings.stable_host], canary_hosts, settings.port),
        run_url=run_url,
        person=person,
        timeout_seconds=settings.timeout_seconds,
        lease_seconds=settings.lease_seconds,
    )


def connect_registry(
    settings: Settings,
    owner: str,
    *,
    registry: RegistryWriter | None = None,
    fleet: Fleet | None = None,
    **further: Any,
) -> RolloutControl:
    """Connects as a person may from their own machine, which reaches the replicas through the gateway only.

    Raises:
        SettingsError: the settings name no warehouse.
    """
    warehouse, password = open_warehouse(settings), settings.mlflow_password.get_secret_value()
    signer = find_signer(settings)
    return RolloutControl(
        registry or MlflowRegistryWriter(settings.mlflow_url, settings.mlflow_username, password, signer),
        WarehouseLog(warehouse),
        WarehouseRollouts(warehouse),
        fleet or DnsFleet([], [], 3000),
        HttpGateway(settings.gateway_url, read_access(settings)),
        lambda model, version: _read_holdout(model, version, settings),
        owner,
        catalog_dir=settings.catalog_dir,
        signer=signer,
        **further,
    )


def _read_holdout(model: str, version: str, settings: Settings) -> HoldoutRows:
    from ml_code.gate.holdout_rows import read_holdout_rows  # noqa: PLC0415  brings ONNX Runtime, which --help does without

    return read_holdout_rows(open_workspace(settings), model, version)
