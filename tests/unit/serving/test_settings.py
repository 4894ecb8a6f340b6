from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from serving.settings import RolloutSettings, ServingSettings


@pytest.mark.parametrize("settings", [ServingSettings, RolloutSettings])
def test_the_error_of_a_missing_value_shows_no_password(
    settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = settings.model_config["env_prefix"]
    monkeypatch.setenv(f"{prefix}MLFLOW_PASSWORD", "do-not-show")
    monkeypatch.setenv(f"{prefix}MLFLOW_URL", "http://mlflow:5000")
    monkeypatch.delenv(f"{prefix}MLFLOW_USERNAME", raising=False)
    with pytest.raises(ValidationError, match="mlflow_username") as raised:
        settings()
    assert "do-not-show" not in str(raised.value)
