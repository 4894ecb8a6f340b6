"""Errors of the stack and of its loop.

LocalStackError
├── StateFolderError    the state folder cannot be used
├── PortError           a requested port is taken
├── ServiceError        a service did not start, or does not run
├── RunError            a run of a DAG failed
├── DeploymentError     a version is not served
├── LeftError           a person left a rollout, which goes on
├── InputError          rows on the command line, or a file of them, cannot be read
├── AccountError        an account of a person cannot be made or changed
├── ScalingError        the number of replicas cannot be read or changed
├── BackupError         a set of a backup cannot be made, read or restored
├── StoreError          an object store cannot be taken over into another one
├── EngineError         Docker or git refuses a command
├── UpgradeError        the stack was not upgraded
├── WorkerError         a worker on another host cannot be told its settings
├── AnswerError         the gateway did not answer rows with predictions
└── NoAnswerError       a server does not answer now
"""

from __future__ import annotations


class LocalStackError(Exception):
    """Root of the errors of the stack and of its loop."""


class StateFolderError(LocalStackError):
    """The state folder is not writable, in use, or of another version."""


class PortError(LocalStackError):
    """Another program holds a requested port, or the text is not a port."""


class ServiceError(LocalStackError):
    """A service did not become ready, or a step before it failed."""


class RunError(LocalStackError):
    """A run of a DAG failed, or did not end in time."""


class DeploymentError(LocalStackError):
    """A version is not served; the message says why."""


class LeftError(LocalStackError):
    """A person stopped following a rollout, which goes on."""


class InputError(LocalStackError):
    """Rows on the command line, or a file of them, cannot be read."""


class AccountError(LocalStackError):
    """An account of a person cannot be made or changed."""


class BackupError(LocalStackError):
    """A set of a backup cannot be made, cannot be read, or may not be restored here."""


class StoreError(LocalStackError):
    """The objects of a store cannot be taken over into another one, or differ there."""


class EngineError(LocalStackError):
    """Docker or git is missing, or refuses a command."""


class ScalingError(LocalStackError):
    """The number of replicas cannot be read or changed, or the machine has no room for it."""


class UpgradeError(LocalStackError):
    """The stack was not upgraded, and runs what it ran before."""


class WorkerError(LocalStackError):
    """A worker on another host cannot be told its settings."""


class AnswerError(LocalStackError):
    """The gateway did not answer rows with predictions."""


class NoAnswerError(LocalStackError):
    """A server does not answer now, and may answer later."""
