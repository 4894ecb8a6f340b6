"""The map of the buckets: the only module that builds the address of an object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

INCOMING = "incoming/"
"""Prefix of the keys of incoming files; the name of the dataset follows it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of all objects, below the two URIs of the settings.

    >>> Places("s3://datasets", "s3://predictions").locate_snapshots("iris")
    's3://datasets/snapshots/iris'
    """

    datasets_uri: str
    predictions_uri: str

    def locate_object(self, key: str) -> str:
        """URI of an object of the datasets' bucket, by its key."""
        return f"{self.datasets_uri.rstrip('/')}/{key}"

    def get_key(self, uri: str) -> str:
        """Key of an object of the datasets' bucket, by its URI."""
        return uri.removeprefix(self.locate_object(""))

    def locate_incoming(self, dataset: str, name: str) -> str:
        """A file that awaits its intake."""
        return self.locate_object(f"{INCOMING}{dataset}/{name}")

    def locate_filed(self, key: str, sha256: str, *, is_rejected: bool) -> str:
        """A file after its intake; the digest separates contents that arrive under one name."""
        dataset, _, name = key.removeprefix(INCOMING).partition("/")
        folder = "rejected" if is_rejected else "processed"
        return self.locate_object(f"{folder}/{dataset}/{sha256[:16]}/{name}")

    def locate_source(self, dataset: str) -> str:
        """The copy of a source from the internet, for times when its address does not respond."""
        return self.locate_object(make_source_key(dataset, ".csv"))

    def locate_clean(self, dataset: str) -> str:
        """Folder of the accepted files."""
        return self.locate_object(f"clean/{dataset}")

    def locate_quarantine(self, name: str, sha256: str) -> str:
        """Report of the bad rows of a file; the same content has the same report."""
        return self.locate_object(f"quarantine/{name}/{sha256[:16]}.csv")

    def locate_snapshots(self, dataset: str) -> str:
        """Folder of the versions of a dataset."""
        return self.locate_object(f"snapshots/{dataset}")

    def locate_version(self, dataset: str) -> str:
        """Record of the newest version of a dataset."""
        return self.locate_object(f"versions/{dataset}.json")

    def locate_weather(self, name: str) -> str:
        """An original forecast (`raw/...`), or the table of a place."""
        return self.locate_object(f"weather/{name}")

    def locate_batch(self, model: str, batch_id: str) -> str:
        """Folder of one batch of predictions; its id is a person's, who may call it `..` or as the folder `files`."""
        name = re.sub(r"^(?=files$)|^\.+|[^A-Za-z0-9_.-]", "_", batch_id)
        return f"{self._locate_predictions(model)}/{name}"

    def locate_batch_model(self, model: str, sha256: str | None) -> str:
        """The copy of a model file that predicts batches."""
        return f"{self._locate_predictions(model)}/files/{sha256}.onnx"

    def list_dated(self) -> list[str]:
        """Folders whose objects are deleted when their hour is too old: the log of predictions, and their labels."""
        return [f"{self._locate_predictions(name)}/" for name in ("log", "labels")]

    def list_aside(self) -> list[str]:
        """Folders of what only a person reads: labels without use, and the CSV files of labels, read or not yet."""
        return [self._locate_predictions("labels/unused/"), f"{self.feedback}/"]

    def locate_log(self, model: str) -> str:
        """Folder of a model's log of predictions."""
        return self._locate_predictions(f"log/model={model}")

    def locate_log_hour(self, model: str, schema: str, hour: datetime, name: str) -> str:
        """One object of the log: rows of one hour, whose features have the same names and kinds."""
        return f"{self.locate_log(model)}/schema={schema}/date={hour:%Y-%m-%d}/hour={hour:%H}/{name}.parquet"

    def locate_drift_page(self, model: str, version: str, name: str) -> str:
        """The page of a window of a version."""
        return self._locate_predictions(f"drift/model={model}/version={version}/{name}")

    def locate_staleness_page(self, model: str, name: str) -> str:
        """The page of the last versions of a model on its newest labelled answers."""
        return self._locate_predictions(f"staleness/model={model}/{name}")

    def locate_labels(self, model: str) -> str:
        """Folder of the labels of a model's predictions."""
        return self._locate_predictions(f"labels/model={model}")

    def locate_label_hour(self, model: str, hour: datetime, name: str) -> str:
        """One object of labels, by the hour of the predictions."""
        return f"{self.locate_labels(model)}/date={hour:%Y-%m-%d}/hour={hour:%H}/{name}.parquet"

    def locate_unused_labels(self, name: str) -> str:
        """The labels of one batch that have no row or do not fit it, with the reasons."""
        return self._locate_predictions(f"labels/unused/{name}.jsonl")

    def list_reports(self) -> list[str]:
        """Folders of what the loop leaves behind: pages of drift and staleness, and labels without use."""
        return [self._locate_predictions(f"{name}/") for name in ("drift", "staleness", "labels/unused")]

    def locate_batches(self, model: str) -> str:
        """Folder of the batches of a model, and of the model files that predicted them."""
        return f"{self._locate_predictions(model)}/"

    @property
    def feedback(self) -> str:
        """Folder of the CSV files of labels; each model has a folder there."""
        return self._locate_predictions("feedback")

    def locate_filed_labels(self, model: str, name: str, *, is_rejected: bool) -> str:
        """A CSV file of labels after it was read."""
        outcome = "rejected" if is_rejected else "processed"
        return f"{self.feedback}/{model}/{outcome}/{name}"

    def _locate_predictions(self, model: str) -> str:
        return f"{self.predictions_uri.rstrip('/')}/{model}"


def make_source_key(dataset: str, suffix: str) -> str:
    """Key of the rows that a dataset was added with."""
    return f"sources/{dataset}{suffix}"


def name_dataset(key: str) -> str:
    """The dataset of an incoming file: the first folder of its key below `incoming/`."""
    return key.removeprefix(INCOMING).partition("/")[0]
