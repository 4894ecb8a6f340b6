"""Settings of a machine on which no server runs: what is written lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ml_code.settings import Settings


def make_offline_settings(folder: Path, **changes: Any) -> Settings:
    """Nothing listens where these point, but for what is changed."""
    values = {
        "mlflow_url": "http://127.0.0.1:1",
        "mlflow_username": "trainer",
        "mlflow_password": SecretStr("secret"),
        "s3_endpoint_url": "http://127.0.0.1:1",
        "s3_access_key": "key",
        "s3_secret_key": SecretStr("secret"),
        "datasets_uri": str(folder),
    }
    return Settings(**values | changes)
