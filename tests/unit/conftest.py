from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_code.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing listens where these point; rows and snapshots lie in a folder."""
    return Settings(
        mlflow_url="http://127.0.0.1:1",
        mlflow_username="trainer",
        mlflow_password=SecretStr("secret"),
        s3_endpoint_url="http://127.0.0.1:1",
        s3_access_key="key",
        s3_secret_key=SecretStr("secret"),
        datasets_uri=str(tmp_path / "datasets"),
        catalog_dir=tmp_path,
    )
