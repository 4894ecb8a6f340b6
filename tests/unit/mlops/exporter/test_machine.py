from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlops.exporter.machine import MachineSource
from mlops.exporter.settings import ExporterSettings


def read(**settings: Any) -> dict[str, float]:
    metrics = MachineSource(ExporterSettings(**settings)).read()
    return {"/".join((s.name, *s.labels.values())): s.value for metric in metrics for s in metric.samples}


def test_what_the_settings_do_not_name_has_no_figure() -> None:
    assert read(stable_replicas=3, canary_replicas=0) == {
        "mlops_replicas_expected/stable": 3,
        "mlops_replicas_expected/canary": 0,
    }


def test_the_disk_of_a_folder_is_measured(tmp_path: Path) -> None:
    found = read(disk_dir=tmp_path)
    assert found["mlops_disk_size_bytes"] == shutil.disk_usage(tmp_path).total
    assert 0 < found["mlops_disk_free_bytes"] < found["mlops_disk_size_bytes"]
    assert 0 < found["mlops_disk_used_ratio"] < 1


def test_a_folder_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(disk_dir=tmp_path / "none")


@pytest.fixture
def tls_address(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody signed but itself, for two days."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, *files], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_end_of_a_certificate_is_read_whoever_signed_it(tls_address: str) -> None:
    end = read(tls="on", certificate_address=tls_address)["mlops_certificate_expiry_timestamp_seconds"]
    assert 1.9 * 86400 < end - datetime.now(UTC).timestamp() < 2.1 * 86400
