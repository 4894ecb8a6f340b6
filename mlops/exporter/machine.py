"""Figures of the machine: the disk of the volumes, the certificate, replicas that shall answer."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from ml_code.disk import measure_disk
from mlops.exporter.settings import ExporterSettings

CERTIFICATE_SECONDS = 5.0


class MachineSource:
    """Reads what the settings name; what they do not name has no figure."""

    def __init__(self, settings: ExporterSettings) -> None:
        self._settings = settings

    def read(self) -> Sequence[Metric]:
        """All figures.

        Raises:
            OSError: a folder is missing, or nothing listens at the certificate's address.
            ValueError: the certificate cannot be read.
        """
        return [
            describe_replicas(self._settings.stable_replicas, self._settings.canary_replicas),
            *(describe_disk(self._settings.disk_dir) if self._settings.disk_dir else ()),
            *(describe_certificate(self._settings.certificate_address) if self._settings.tls == "on" else ()),
        ]


def describe_replicas(stable: int, canary: int) -> Metric:
    """How many replicas shall answer, to compare with those that do."""
    expected = GaugeMetricFamily("mlops_replicas_expected", "Replicas that shall answer", labels=["pool"])
    expected.add_metric(["stable"], stable)
    expected.add_metric(["canary"], canary)
    return expected


def describe_disk(folder: Path) -> Iterator[Metric]:
    """Size, room and use of the disk on which a folder lies."""
    usage = shutil.disk_usage(folder)
    yield _value("mlops_disk_size_bytes", "Size of the disk of the volumes", usage.total)
    yield _value("mlops_disk_free_bytes", "Bytes that programs may still write there", usage.free)
    yield _value("mlops_disk_used_ratio", "Share of it that is used, as df counts it", measure_disk(folder))


def describe_certificate(address: str) -> Iterator[Metric]:
    """When the certificate at an address ends, whoever signed it."""
    from cryptography import x509  # noqa: PLC0415  only with TLS

    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=CERTIFICATE_SECONDS)
    end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    yield _value("mlops_certificate_expiry_timestamp_seconds", "When the gateway's certificate ends", end.timestamp())


def _value(name: str, text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, text)
    gauge.add_metric([], value)
    return gauge
