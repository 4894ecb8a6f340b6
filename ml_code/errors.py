"""Every error that `ml_code` raises on purpose; each message says subject, found, expected and the next step.

MlopsError
├── ModelFileError          a model file that cannot be read or carries no spec
└── GoldenMismatchError     a model file that answers its own golden rows otherwise than it was exported
"""

from __future__ import annotations


class MlopsError(Exception):
    """The root: catch it to turn any expected failure into a message."""


class ModelFileError(MlopsError):
    """A model file that cannot be read or carries no spec."""


class GoldenMismatchError(MlopsError):
    """A model file that answers its own golden rows otherwise than it did when it was exported."""
