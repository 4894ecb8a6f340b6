"""Probes whether a service of this machine answers."""

from __future__ import annotations

import base64
import json
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from mlops.local.ports import LOOPBACK


def answers(url: str, login: tuple[str, str] | None = None) -> bool:
    """Without a login any answer counts: the object store refuses requests without a signature."""
    status, _ = _get(url, login)
    return 200 <= status < 300 if login else 200 <= status < 500


def is_healthy(url: str, part: str) -> bool:
    """Whether Airflow reports one of its parts as healthy."""
    status, body = _get(url)
    return status == 200 and json.loads(body)[part]["status"] == "healthy"


def _get(url: str, login: tuple[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a response; status 0 without a response."""
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or LOOPBACK, where.port, timeout=30)
    headers = {"Authorization": f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"} if login else {}
    try:
        connection.request("GET", f"{where.path}?{where.query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()
