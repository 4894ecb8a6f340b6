"""What can go wrong with the local stack.

LocalStackError
├── StateFolderError    the state folder cannot be used
├── PortError           a port that was asked for is taken
├── ServiceError        a service did not start, or is not there
├── RunError            a run of a DAG did not end well
└── NoAnswerError       a server does not answer now
"""

from __future__ import annotations


class LocalStackError(Exception):
    """Anything that keeps the local stack from doing what it was asked for."""


class StateFolderError(LocalStackError):
    """The state folder is not writable, in use, or of another version."""


class PortError(LocalStackError):
    """A port that was asked for is held by another program."""


class ServiceError(LocalStackError):
    """A service did not come to answer, or a step before it failed."""


class RunError(LocalStackError):
    """A run of a DAG failed, or did not end in time."""


class NoAnswerError(LocalStackError):
    """A server does not answer now, and may do so later."""
