"""Every error that `ml_code` raises on purpose; each message names subject, found, expected and the next step.

MlopsError
├── SettingsError           a setting that is missing, wrong or unknown
├── CatalogError            a dataset's TOML that cannot be read, or a dataset that is not in the catalog
├── SourceError             a source that cannot be reached or read
├── DataCheckError          rows that break the checks of their dataset
├── StorageError            an object that cannot be read or written
│   └── AddressError        an address that a person may not name
├── TrainingError           a model type, estimator or hyperparameter that is not offered
├── ExportError             a fitted pipeline whose exported file predicts otherwise
├── TrackingError           the tracking server refuses or cannot be reached
│   └── DigestError         a downloaded model file whose digest differs from its version's
├── GateError               a model that the gate cannot judge, or rejected
│   └── HeldBackError       a model that the gate rejected, or that awaits approval
├── NoChampionError         a model without a serving version
├── HousekeepingError       a rule that would delete what serves
├── ModelFileError          a model file that cannot be read or carries no spec
├── GoldenMismatchError     a model file whose predictions for its golden rows have changed since the export
├── UncollectedError        more lines wait for their collection than the disk has room for
├── WarehouseError          the warehouse cannot be reached, or is newer than this code
└── WeatherError            in `etl.weather_errors`, with its own tree
"""

from __future__ import annotations


class MlopsError(Exception):
    """The root: catch it to turn any expected failure into a message."""


class SettingsError(MlopsError):
    """A setting that is missing, wrong or unknown."""


class CatalogError(MlopsError):
    """A dataset's TOML that cannot be read, or a dataset that is not in the catalog."""


class SourceError(MlopsError):
    """A source that cannot be reached or read."""


class DataCheckError(MlopsError):
    """Rows that break the checks of their dataset."""


class StorageError(MlopsError):
    """An object that cannot be read or written."""


class AddressError(StorageError):
    """An address that is malformed, or outside of the places that a person may name."""


class TrainingError(MlopsError):
    """A model type, estimator or hyperparameter that is not offered."""


class ExportError(MlopsError):
    """A fitted pipeline that cannot be exported, or whose exported file predicts otherwise."""


class TrackingError(MlopsError):
    """The tracking server refuses, cannot be reached, or lacks the requested record."""


class DigestError(TrackingError):
    """A downloaded model file whose digest differs from its version's."""


class GateError(MlopsError):
    """A model that the gate cannot judge, or rejected."""


class HeldBackError(GateError):
    """A model that the gate rejected, or a version that awaits approval: a result, not a failure."""

    def __init__(self, message: str, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version


class NoChampionError(MlopsError):
    """A model without a serving version."""


class HousekeepingError(MlopsError):
    """A rule that would delete what serves, or served before."""


class ModelFileError(MlopsError):
    """A model file that cannot be read or carries no spec."""


class GoldenMismatchError(MlopsError):
    """A model file whose predictions for its golden rows have changed since the export."""


class UncollectedError(MlopsError):
    """More lines wait for their collection than the disk has room for."""


class WarehouseError(MlopsError):
    """The warehouse cannot be reached, or is newer than this code."""
