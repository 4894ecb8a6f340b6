"""Every error that `serving` raises on purpose; each message says subject, found, expected and the next step.

ServingError
├── RegistryError       MLflow cannot be read at this moment: tried again
├── RefusedModelError   a registered version that must not serve: the old one keeps serving
├── RequestError        a request that cannot be answered, with its HTTP status
├── NoCandidateError    a rollout of a model that has no version which passed the gate, or not the one asked for
├── FrozenModelError    a rollout that nobody asked for of a model that a person has frozen
└── FleetError          replicas that did not come to the version in time
"""

from __future__ import annotations

from dataclasses import dataclass


class ServingError(Exception):
    """The root: catch it to turn any expected failure into a message."""


class RegistryError(ServingError):
    """MLflow is not reached, refuses or answers what cannot be read; worth another try."""


class RefusedModelError(ServingError):
    """A registered version whose file or description is wrong, so that another try soon finds the same."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the row's number from 0 and the field's name where there is one."""

    row: int | None
    field: str | None
    problem: str


class RequestError(ServingError):
    """A request that cannot be answered.

    >>> RequestError(422, "rows: found an empty array, expected at least one row")
    """

    def __init__(self, status: int, message: str, detail: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail


class NoCandidateError(ServingError):
    """A rollout of a model that has no version which passed the gate, or not the one asked for."""


class FrozenModelError(ServingError):
    """A rollout that nobody asked for of a model that a person has frozen."""


class FleetError(ServingError):
    """Replicas that did not come to the version in time."""
