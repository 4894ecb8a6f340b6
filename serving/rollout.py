"""The steps that take a registered version to every replica; each may be repeated and says what it found.

A rollout takes its versions as arguments and never from the aliases it moves, so that a repeated step does not take
the new champion for the one before it.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from ml_code.promotion_log import PromotionLog, WarehouseLog
from ml_code.settings import load_settings
from ml_code.warehouse import open_warehouse
from serving.aliases import ROLLED_BACK, Aliases, MlflowAliases
from serving.errors import FrozenModelError, NoCandidateError
from serving.fleet import DnsFleet, Fleet, wait_for_version
from serving.settings import RolloutSettings

CHAMPION = "champion"
PREVIOUS = "previous"

logger = logging.getLogger("serving")


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout of a model: from the version that serves, if any, to the one that shall."""

    model: str
    from_version: str | None
    to_version: str

    def as_dict(self) -> dict[str, str | None]:
        """The rollout as it travels between tasks."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Control:
    """What a rollout works with: the registry's aliases, the log of promotions and the replicas."""

    aliases: Aliases
    log: PromotionLog
    fleet: Fleet
    timeout_seconds: float


def plan(aliases: Aliases, log: PromotionLog, model: str, version: str | None = None) -> Rollout:
    """Decides what to roll out: the version asked for, or the newest that the gate let through.

    Raises:
        NoCandidateError: no version of the model has passed the gate, or the one asked for has not.
        FrozenModelError: no version was asked for, and a person has frozen the model.
    """
    # Found out here, because `promote` moves `previous` first: the way back would be lost for a version that is not.
    if version and not (version.isdecimal() and aliases.has_passed(model, version)):
        raise NoCandidateError(
            f"{model}: found no version {version} with the tag gate=passed, expected one; leave the version empty for "
            "the newest, or set the tag in MLflow if you vouch for it"
        )
    champion = aliases.read(model).get(CHAMPION)
    newest = aliases.find_newest_passed(model)
    # Unasked there is no way back: a champion that a person chose over the newest stays.
    unasked = champion if champion and newest and int(newest) < int(champion) else newest
    target = version or unasked
    if target is None:
        raise NoCandidateError(
            f"{model}: found no version with the tag gate=passed, expected one; run mlops_training_pipeline first"
        )
    if version is None and target != champion and (freeze := log.find_freeze(model)):
        raise FrozenModelError(
            f"{model}: found it frozen by {freeze.who} ({freeze.why}), expected no freeze; version {target} waits: "
            f"`mlops unfreeze {model}`, or `mlops promote {model} {target}`"
        )
    logger.info("%s: the champion is %s, the version to roll out is %s", model, champion or "none yet", target)
    return Rollout(model, champion, target)


def promote(aliases: Aliases, log: PromotionLog, rollout: Rollout, who: str, why: str) -> None:
    """Makes the target the champion and the version before it `previous`, and logs it."""
    if rollout.from_version and rollout.from_version != rollout.to_version:
        aliases.move(rollout.model, PREVIOUS, rollout.from_version)
    aliases.move(rollout.model, CHAMPION, rollout.to_version)
    if rollout.from_version != rollout.to_version:
        versions = {"from_version": rollout.from_version, "to_version": rollout.to_version}
        log.record(rollout.model, "promote", who, why, **versions)
    logger.info("%s: champion is now version %s", rollout.model, rollout.to_version)


def roll_back(aliases: Aliases, log: PromotionLog, model: str, who: str, why: str) -> Rollout:
    """Makes the version before the champion again, and marks the one that served so that nothing picks it unasked.

    The version before that one becomes `previous`, as far as the log knows it; otherwise there is none.

    Raises:
        NoCandidateError: there is no version before.
    """
    found = aliases.read(model)
    bad, target = found.get(CHAMPION), found.get(PREVIOUS)
    if bad is None or target is None:
        raise NoCandidateError(
            f"{model}: found no {'champion' if bad is None else 'version before the champion'}, expected one; "
            f"`mlops promote {model} VERSION` names any other"
        )
    if bad == target:  # a rollback was cut off between its moves
        bad = next((move.to_version for move in log.list_moves(model) if move.to_version), None)
    else:
        aliases.tag(model, bad, ROLLED_BACK, why)
        aliases.move(model, CHAMPION, target)
    before = _find_version_before(log, model, target)
    if before is None:
        aliases.delete(model, PREVIOUS)
    else:
        aliases.move(model, PREVIOUS, before)
    log.record(model, "rollback", who, why, from_version=bad, to_version=target)
    logger.info("%s: rolled back from version %s to %s", model, bad, target)
    return Rollout(model, bad, target)


def _find_version_before(log: PromotionLog, model: str, version: str) -> str | None:
    """What served before a version was promoted for the last time."""
    moves = log.list_moves(model)
    return next((move.from_version for move in moves if move.action == "promote" and move.to_version == version), None)


def wait_for_fleet(fleet: Fleet, rollout: Rollout, timeout_seconds: float) -> list[str]:
    """Waits until every replica answers with the target; returns their addresses.

    Raises:
        FleetError: the replicas did not come to it in time.
    """
    return wait_for_version(fleet, rollout.model, rollout.to_version, timeout_seconds)


def connect(settings: RolloutSettings | None = None) -> Control:
    """Connects to the registry, the warehouse and the replicas that the environment names.

    Raises:
        SettingsError: it names no warehouse.
    """
    settings = settings or RolloutSettings()
    password = settings.mlflow_password.get_secret_value()
    aliases = MlflowAliases(settings.mlflow_url, settings.mlflow_username, password)
    hosts = [host for host in (settings.stable_host, settings.canary_host) if host]
    log = WarehouseLog(open_warehouse(load_settings()))
    return Control(aliases, log, DnsFleet(hosts, settings.port), settings.timeout_seconds)
