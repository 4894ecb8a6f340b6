"""The programs of the local stack, as the supervisor starts them."""

from __future__ import annotations

import os
from pathlib import Path

from mlops.local.services import Services
from mlops.local.state import PORTS, StateFolder


def test_no_program_is_sent_to_a_folder_of_the_containers(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    services = Services(state, dict.fromkeys(PORTS, 1), {"PATH": os.environ["PATH"]})
    services.make_folders()
    programs = [service.program for service in services.list_all()]
    places = [(one.name, name, value) for one in programs for name, value in one.environment.items()]
    assert [place for place in places if place[2].startswith("/var/lib/")] == []
    shared = {value for _, name, value in places if "PREDICTION_LOG_DIR" in name or "LOOP_STATUS_DIR" in name}
    assert len(shared) == 2
    assert all(Path(value).is_dir() and Path(value).is_relative_to(state.path) for value in shared)
