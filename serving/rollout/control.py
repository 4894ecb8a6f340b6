"""What a rollout works with, and what each of its steps does: hold the row, and note what it found."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_code.model_file.spec import LARGEST_FILE_MB
from ml_code.settings import Settings, load_settings
from ml_code.warehouse import open_warehouse
from ml_code.workspace import open_workspace
from serving.errors import RolloutLostError
from serving.fleet.gateway import Gateway, HttpGateway
from serving.fleet.replicas import DnsFleet, Fleet
from serving.registry.names import VERDICT
from serving.registry.writer import MlflowRegistryWriter, RegistryWriter
from serving.rollout.promotion_log import PromotionLog, WarehouseLog
from serving.rollout.rows import Kind, Rollout, RolloutRows, State, WarehouseRollouts
from serving.settings import RolloutSettings

if TYPE_CHECKING:
    from ml_code.gate.holdout_rows import HoldoutRows

CANARY_UNTIL = "canary_until"
"""Tag of a model: until when the canary pool answers with the challenger."""

LONGEST_REASON = 1000
"""Characters: MLflow takes 5,000 for a tag."""

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class RolloutControl:
    """The registry, the logs, the replicas and the gateway; and who drives the rollout."""

    registry: RegistryWriter
    log: PromotionLog
    rows: RolloutRows
    fleet: Fleet
    gateway: Gateway
    read_holdout: Callable[[str, str], HoldoutRows]
    owner: str
    run_url: str | None = None
    timeout_seconds: float = 120.0
    lease_seconds: float = 120.0
    limit_bytes: int = LARGEST_FILE_MB * 1_000_000
    catalog_dir: Path | None = None
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def connect(owner: str, run_url: str | None = None, settings: RolloutSettings | None = None) -> RolloutControl:
    """Connects to the registry, the warehouse, the replicas and the gateway that the environment names.

    Args:
        owner: who drives the rollout: a DAG and its run, or a person.
        run_url: where its run is seen.
        settings: instead of the environment's.

    Raises:
        SettingsError: it names no warehouse.
    """
    settings, common = settings or RolloutSettings(), load_settings()
    canary_hosts = [settings.canary_host] if settings.canary_host else []
    return connect_registry(
        common,
        owner,
        registry=MlflowRegistryWriter(
            settings.mlflow_url, settings.mlflow_username, settings.mlflow_password.get_secret_value()
        ),
        fleet=DnsFleet([settings.stable_host], canary_hosts, settings.port),
        run_url=run_url,
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
    return RolloutControl(
        registry or MlflowRegistryWriter(settings.mlflow_url, settings.mlflow_username, password),
        WarehouseLog(warehouse),
        WarehouseRollouts(warehouse),
        fleet or DnsFleet([], [], 3000),
        HttpGateway(settings.gateway_url),
        lambda model, version: _read_holdout(model, version, settings),
        owner,
        catalog_dir=settings.catalog_dir,
        **further,
    )


@contextmanager
def hold(control: RolloutControl, rollout_id: int) -> Iterator[Rollout]:
    """Keeps every other process from moving the model's aliases, as long as the rollout is still ours.

    Raises:
        RolloutLostError: it has ended, or another run drives it.
    """
    with control.rows.lock(control.rows.read(rollout_id).model):
        yield read_own(control, rollout_id)


def read_own(control: RolloutControl, rollout_id: int) -> Rollout:
    """The row, if it is active and ours.

    Raises:
        RolloutLostError: it is not.
    """
    found = control.rows.read(rollout_id)
    if found.ended_at is not None or found.owner != control.owner:
        raise _explain_loss(found)
    return found


def note(
    control: RolloutControl,
    rollout: Rollout,
    *,
    state: State | None = None,
    reason: str | None = None,
    figures: Mapping[str, Any] | None = None,
    is_over: bool = False,
) -> Rollout:
    """Writes how far the rollout is on its row and on the model, and renews the lease.

    Raises:
        RolloutLostError: it has ended, or another run drives it.
        RegistryError: MLflow refuses.
    """
    # The model's tag comes last where it ends: a step that is interrupted in between is repeated.
    if is_over:
        tell(control, rollout, state=state, reason=reason, figures=figures)
    written = control.rows.write(
        rollout.rollout_id,
        lease_seconds=control.lease_seconds,
        only_of=control.owner,
        state=state,
        reason=reason,
        figures=figures,
        is_over=is_over,
    )
    if written is None:
        raise _explain_loss(control.rows.read(rollout.rollout_id))
    if not is_over:
        tell(control, written)
    if state and state != rollout.state:
        logger.info("%s: %s%s", rollout.name, state, f", {reason}" if reason else "")
    return written


def open_row(
    control: RolloutControl, model: str, kind: Kind, *, from_version: str | None, to_version: str, state: State
) -> Rollout:
    """Adds the active row of a model that has none, in the name of this owner."""
    return control.rows.open(
        model,
        kind=kind,
        from_version=from_version,
        to_version=to_version,
        state=state,
        owner=control.owner,
        run_url=control.run_url,
        lease_seconds=control.lease_seconds,
    )


def renew(control: RolloutControl, rollout: Rollout) -> None:
    """Renews the lease, and with it the time until which the canary pool answers with the challenger.

    Raises:
        RolloutLostError: the rollout has ended, or another run drives it.
        RegistryError: MLflow refuses.
    """
    if control.rows.write(rollout.rollout_id, lease_seconds=control.lease_seconds, only_of=control.owner) is None:
        raise _explain_loss(control.rows.read(rollout.rollout_id))
    if rollout.state in {"canary", "analysing"}:
        keep_canary_open(control, rollout.model)


def keep_canary_open(control: RolloutControl, model: str) -> None:
    """Serves the challenger from the canary pool for one more lease."""
    until = datetime.now(UTC) + timedelta(seconds=control.lease_seconds)
    control.registry.tag_model(model, CANARY_UNTIL, until.isoformat(timespec="seconds"))


def tell(
    control: RolloutControl,
    rollout: Rollout,
    *,
    state: State | None = None,
    reason: str | None = None,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Writes the model's tag from which the replicas and the start page read the rollout's progress."""
    described = {
        "kind": rollout.kind,
        "state": state or rollout.state,
        "from_version": rollout.from_version,
        "to_version": rollout.to_version,
        "started_at": rollout.started_at.isoformat(timespec="seconds"),
        "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": (rollout.reason if reason is None else reason)[:LONGEST_REASON],
        "figures": rollout.figures if figures is None else figures,
        "run_url": rollout.run_url,
    }
    control.registry.tag_model(rollout.model, VERDICT, json.dumps(described, ensure_ascii=False))


def _explain_loss(found: Rollout) -> RolloutLostError:
    if found.ended_at is not None:
        return RolloutLostError(f"{found.name}: found it {found.state} ({found.reason}), expected it under way")
    return RolloutLostError(f"{found.name}: found it driven by {found.owner}, which took it over")


def _read_holdout(model: str, version: str, settings: Settings) -> HoldoutRows:
    from ml_code.gate.holdout_rows import read_holdout_rows  # noqa: PLC0415  brings ONNX Runtime, which --help does without

    return read_holdout_rows(open_workspace(settings), model, version)
