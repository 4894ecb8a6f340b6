from __future__ import annotations

from secrets import token_hex
from types import ModuleType

import pytest

from ml_code.settings import REPOSITORY
from tests.unit.docker.scripts import load_script
from tests.unit.docker.secret_lengths import SHORTEST

FILE = REPOSITORY / "docker" / "airflow" / "preflight.py"


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    return load_script(FILE)


@pytest.fixture
def secrets() -> dict[str, str]:
    tokens = {"GATEWAY_TOKENS": f"ann:{token_hex(16)}"}
    return tokens | {name: token_hex(64)[: max(length, 32)] for name, length in SHORTEST.items()}
