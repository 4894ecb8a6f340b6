"""The steps that take a registered version to every replica; each may be repeated and says what it found.

A rollout takes its versions as arguments and never from the aliases it moves, so that a repeated step does not take
the new champion for the one before it.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from serving.aliases import Aliases, MlflowAliases
from serving.errors import NoCandidateError
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


def plan(aliases: Aliases, model: str, version: str | None = None) -> Rollout:
    """Decides what to roll out: the version asked for, or the newest that the gate let through.

    Raises:
        NoCandidateError: no version of the model has passed the gate, or the one asked for has not.
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
    logger.info("%s: the champion is %s, the version to roll out is %s", model, champion or "none yet", target)
    return Rollout(model, champion, target)


def promote(aliases: Aliases, rollout: Rollout) -> None:
    """Makes the target the champion and the version before it `previous`."""
    if rollout.from_version and rollout.from_version != rollout.to_version:
        aliases.move(rollout.model, PREVIOUS, rollout.from_version)
    aliases.move(rollout.model, CHAMPION, rollout.to_version)
    logger.info("%s: champion is now version %s", rollout.model, rollout.to_version)


def wait_for_fleet(fleet: Fleet, rollout: Rollout, timeout_seconds: float) -> list[str]:
    """Waits until every replica answers with the target; returns their addresses.

    Raises:
        FleetError: the replicas did not come to it in time.
    """
    return wait_for_version(fleet, rollout.model, rollout.to_version, timeout_seconds)


def connect(settings: RolloutSettings | None = None) -> tuple[Aliases, Fleet, RolloutSettings]:
    """Connects to the registry and the replicas that the environment names."""
    settings = settings or RolloutSettings()
    password = settings.mlflow_password.get_secret_value()
    aliases = MlflowAliases(settings.mlflow_url, settings.mlflow_username, password)
    hosts = [host for host in (settings.stable_host, settings.canary_host) if host]
    return aliases, DnsFleet(hosts, settings.port), settings
