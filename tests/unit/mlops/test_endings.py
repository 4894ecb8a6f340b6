from __future__ import annotations

import pytest
import typer

from mlops.endings import FAILURE, explained
from mlops.errors import StoreError


def test_an_error_shows_what_would_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, explained():
        raise StoreError("object a\x1b[2Jb\r\u202ec: expected 한글,\nfound [red]")
    assert ended.value.exit_code == FAILURE
    assert capsys.readouterr().err == "error: object a\\x1b[2Jb\\r\\u202ec: expected 한글,\nfound [red]\n"
