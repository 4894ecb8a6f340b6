"""Every error that `ml_code` raises on purpose; each message says subject, found, expected and the next step.

MlopsError
├── SettingsError           a setting that is missing, wrong or unknown
├── CatalogError            a dataset's TOML that cannot be read, or a dataset that is not in the catalog
├── SourceError             a source that cannot be reached or read
├── DataCheckError          rows that break the checks of their dataset
├── StorageError            an object that cannot be read or written
├── TrainingError           a model type, estimator or hyperparameter that is not offered
├── ExportError             a fitted pipeline whose exported file answers otherwise
├── TrackingError           the tracking server refuses or cannot be reached
│   └── DigestError         a downloaded model file with another digest than its version says
├── GateError               a model that the gate cannot judge, or did not let through
│   └── HeldBackError       a model that the gate rejected, or that waits for a person
├── NoChampionError         a model of which no version serves yet
├── ModelFileError          a model file that cannot be read or carries no spec
├── GoldenMismatchError     a model file that answers its own golden rows otherwise than it was exported
├── WarehouseError          the warehouse cannot be reached, or is newer than this code
└── WeatherError            in `etl.weather_errors`, with a tree of its own
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


class TrainingError(MlopsError):
    """A model type, estimator or hyperparameter that is not offered."""


class ExportError(MlopsError):
    """A fitted pipeline that cannot be exported, or whose exported file answers otherwise."""


class TrackingError(MlopsError):
    """The tracking server refuses, cannot be reached, or lacks what was asked for."""


class DigestError(TrackingError):
    """A downloaded model file with another digest than its version says."""


class GateError(MlopsError):
    """A model that the gate cannot judge, or did not let through."""


class HeldBackError(GateError):
    """A model that the gate rejected, or that waits for a person as a version: a result, and no failure."""

    def __init__(self, message: str, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version


class NoChampionError(MlopsError):
    """A model of which no version serves yet."""


class ModelFileError(MlopsError):
    """A model file that cannot be read or carries no spec."""


class GoldenMismatchError(MlopsError):
    """A model file that answers its own golden rows otherwise than it did when it was exported."""


class WarehouseError(MlopsError):
    """The warehouse cannot be reached, or is newer than this code."""
