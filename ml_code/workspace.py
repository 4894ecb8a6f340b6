"""The settings, and the connections of a process to store, MLflow and warehouse; each opens on its first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ml_code.addresses import NamedFiles, make_addresses
from ml_code.datasets import Catalog, Dataset, load_catalog, load_dataset
from ml_code.places import Places
from ml_code.settings import Settings, load_settings
from ml_code.storage import Storage

if TYPE_CHECKING:
    from ml_code.tracking import Tracker
    from ml_code.warehouse import Warehouse


def _connect_tracker(settings: Settings) -> Tracker:
    from ml_code.tracking import Tracker  # noqa: PLC0415  seconds to import, and many steps need no MLflow

    return Tracker(settings)


def _connect_warehouse(settings: Settings) -> Warehouse:
    from ml_code.warehouse import open_warehouse  # noqa: PLC0415  libpq, and most steps need no warehouse

    return open_warehouse(settings)


@dataclass(frozen=True)
class Workspace:
    """The first argument of every step; one for each process.

    >>> workspace = open_workspace()
    >>> run.train(workspace, "iris", snapshots.prepare(workspace, "iris"), "xgboost")
    """

    settings: Settings
    connect_storage: Callable[[Settings], Storage] = Storage
    connect_tracker: Callable[[Settings], Tracker] = _connect_tracker
    connect_warehouse: Callable[[Settings], Warehouse] = _connect_warehouse

    @cached_property
    def storage(self) -> Storage:
        """The object store, and the folders of this machine."""
        return self.connect_storage(self.settings)

    @property
    def named_files(self) -> NamedFiles:
        """The files and objects that a person may name in a form."""
        return NamedFiles(self.storage, make_addresses(self.settings))

    @cached_property
    def tracker(self) -> Tracker:
        """MLflow."""
        return self.connect_tracker(self.settings)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse.

        Raises:
            SettingsError: the settings name none.
        """
        return self.connect_warehouse(self.settings)

    @property
    def places(self) -> Places:
        """Where the files lie in the object store."""
        return Places(self.settings.datasets_uri, self.settings.predictions_uri)

    @property
    def catalog(self) -> Catalog:
        """Reads the dataset files again on each access: a dataset may be added while the workspace is open."""
        return load_catalog(self.settings.catalog_dir)

    def load_dataset(self, name: str) -> Dataset:
        """Reads one dataset of the catalog.

        Raises:
            CatalogError: the catalog has no such dataset, or its file is broken.
        """
        return load_dataset(name, self.settings.catalog_dir)


def open_workspace(settings: Settings | None = None) -> Workspace:
    """Opens the workspace of the settings, by default those of the environment.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    return Workspace(settings or load_settings())
