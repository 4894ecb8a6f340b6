"""Every error that `serving` raises on purpose; each message says subject, found, expected and the next step.

ServingError
├── RegistryError       MLflow cannot be read at this moment: tried again
│   └── LateChangeError     it did not answer a change of an alias in time, which may still take place
├── RefusedModelError   a registered version that must not serve: the old one keeps serving
├── RequestError        a request that cannot be answered, with its HTTP status
├── NoCandidateError    a rollout of a model that has no version which passed the gate, or not the requested one
├── FleetError          replicas that did not reach the version in time
├── BreachError         a version that must not be promoted: its rollout was aborted
│   ├── InconclusiveError   one that could not be judged, which is not its fault
│   └── MovedByHandError    one beside which a person moved the champion: not its fault
└── StandsAsideError    a rollout that has nothing to do; not a failure
    ├── FrozenModelError    nobody asked for it, and a person has frozen the model
    ├── NothingNewError     what would be rolled out serves already
    ├── UnderWayError       another one is at the same version
    ├── RolledBackError     another rollback was faster
    ├── NoCanaryError       there is nothing to compare with, or no pool for it
    └── RolloutLostError    it has ended, or another run drives it by now
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class ServingError(Exception):
    """The root: catch it to turn any expected failure into a message."""


class RegistryError(ServingError):
    """MLflow is not reached, refuses, or returns what cannot be read; a retry may succeed."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class LateChangeError(RegistryError):
    """A change of an alias that MLflow did not answer in time; `wait` tells whether its outcome is known."""

    def __init__(self, message: str, wait: Callable[[float], bool]) -> None:
        super().__init__(message)
        self.wait = wait


class RefusedModelError(ServingError):
    """A registered version whose file or description is wrong, so that another try soon finds the same."""


STATUSES = {
    400: "not JSON",
    404: "no such model",
    405: "wrong method",
    413: "more than 1 MB",
    415: "not application/json",
    422: "rows that do not fit the model",
    429: "too many requests at once",
    500: "the server failed",
    503: "the model has no version that can answer",
    504: "not answered in time",
}
"""What each status of a request for a prediction means."""

INFERENCE_STATUSES = STATUSES | {
    400: "not a request of the protocol, or rows that do not fit the model",
    404: "no such model, or not the version that serves",
}
"""The same for the Open Inference Protocol, which has 400 where /predict has 422."""
del INFERENCE_STATUSES[422]


def find_inference_status(status: int) -> int:
    """The status that the Open Inference Protocol has for one of /predict, over REST and in the figures of gRPC."""
    return status if status in INFERENCE_STATUSES else 400


FEEDBACK_STATUSES = STATUSES | {
    401: "no token that may send labels",
    422: "labels that are not valid; nothing is kept",
    429: "too many labels at once",
    503: "labels cannot be written now",
}
"""The same for labels; the gateway answers 401."""
del FEEDBACK_STATUSES[404]

STATUS_HEADERS = {405: (b"allow", b"POST"), 429: (b"retry-after", b"1"), 503: (b"retry-after", b"2")}
"""The header that a status brings along."""


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


SERVER_FAILED = RequestError(500, "the server failed; its log has more")
"""What a client learns of an exception that nobody expected."""


class NoCandidateError(ServingError):
    """A rollout of a model that has no version which passed the gate, or not the requested one."""


class FleetError(ServingError):
    """Replicas that did not reach the version in time."""


class BreachError(ServingError):
    """A version that must not be promoted: its rollout was aborted, and the one before serves everybody."""


class InconclusiveError(BreachError):
    """A version that could not be judged: too few requests, or replicas that were away; it may be tried again."""


class MovedByHandError(BreachError):
    """A version whose rollout a person overtook by moving the champion; it may be tried again."""


class StandsAsideError(ServingError):
    """A rollout that has nothing to do: a result, not a failure."""


class FrozenModelError(StandsAsideError):
    """A rollout without a person's request, of a model that a person has frozen."""


class NothingNewError(StandsAsideError):
    """A rollout of a version that serves already."""


class UnderWayError(StandsAsideError):
    """A rollout of a version that another one is taking to the replicas, or that waits for a person."""


class RolledBackError(StandsAsideError):
    """A rollback of a version that another rollback took back meanwhile."""


class NoCanaryError(StandsAsideError):
    """A canary of the first version ever, or where there is no canary pool."""


class RolloutLostError(StandsAsideError):
    """A rollout that has ended, or that another run drives by now."""
