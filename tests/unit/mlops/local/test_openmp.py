from __future__ import annotations

import ctypes
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest

from mlops.local import openmp


@pytest.mark.skipif(sys.platform != "linux", reason="the name is Linux's")
def test_the_bundled_runtime_has_the_name_that_lightgbm_loads(tmp_path: Path) -> None:
    assert openmp.link_bundled(tmp_path / "lib")
    assert openmp.link_bundled(tmp_path / "lib")  # a second start
    assert ctypes.CDLL(str(tmp_path / "lib/libgomp.so.1")).omp_get_max_threads() >= 1
    [library] = [file for file in files("lightgbm") or [] if file.name == "lib_lightgbm.so"]
    program = f"import ctypes; ctypes.CDLL({str(library.locate())!r}); print(open('/proc/self/maps').read())"
    environment = {"LD_LIBRARY_PATH": str(tmp_path / "lib")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "scikit_learn.libs/libgomp" in done.stdout
    assert "linux-gnu/libgomp" not in done.stdout
