"""The steps of a rollout in their order, and a whole rollout in one process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from serving.comparison.analysis import Rules
from serving.errors import NoCanaryError
from serving.rollout import steps
from serving.rollout.control import RolloutControl
from serving.rollout.plan import open_rollout

type Step = Callable[[RolloutControl, int], object]
"""Takes the connections and the number of the rollout."""

WINDOW_SECONDS = 20.0

STEPS = (
    "validate_artifact",
    "start_canary",
    "wait_for_canary",
    "analyse_canary",
    "promote",
    "wait_for_fleet",
    "verify_through_gateway",
)
"""Functions of `steps`, and tasks of the DAG model_serving_pipeline."""

OF_A_CANARY = frozenset({"wait_for_canary", "analyse_canary"})
"""Steps that a rollout without a canary leaves out."""

logger = logging.getLogger("serving")


def list_steps(
    rules: Rules | None = None, window_seconds: float = WINDOW_SECONDS, *, allow_schema_change: bool = False
) -> dict[str, Step]:
    """Every step by its name, with the options of a rollout.

    Args:
        rules: that the canary must keep to; None for the default ones.
        window_seconds: how long the canary is watched.
        allow_schema_change: whether clients may have to change what they send.
    """
    found: dict[str, Step] = {name: getattr(steps, name) for name in STEPS}
    found["validate_artifact"] = partial(steps.validate_artifact, allow_schema_change=allow_schema_change)
    found["analyse_canary"] = partial(steps.analyse_canary, rules=rules or Rules(), window_seconds=window_seconds)
    return found


def roll_out(
    control: RolloutControl,
    model: str,
    version: str | None = None,
    rules: Rules | None = None,
    window_seconds: float = WINDOW_SECONDS,
    *,
    begin: Callable[[str], None] = lambda step: None,
) -> int:
    """Takes every step in this process, without a person's approval; returns the number of the rollout.

    Args:
        control: the connections.
        model: registered model.
        version: of it; None for the newest that passed the gate.
        rules: that the canary must keep to; None for the default ones.
        window_seconds: how long the canary is watched.
        begin: called with the name of each step before it is taken.

    Raises:
        ServingError: a step ended the rollout.
    """
    begin("plan")
    rollout_id = open_rollout(control, model, version).rollout_id
    has_canary = True
    for name, step in list_steps(rules, window_seconds).items():
        if not has_canary and name in OF_A_CANARY:
            continue
        begin(name)
        try:
            step(control, rollout_id)
        except NoCanaryError as reason:
            logger.info("%s", reason)
            has_canary = False
    return rollout_id
