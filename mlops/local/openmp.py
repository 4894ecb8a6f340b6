"""OpenMP's runtime: LightGBM needs the machine's (Debian: libgomp1), scikit-learn brings its own."""

from __future__ import annotations

import ctypes
from importlib.metadata import files
from pathlib import Path

LIBRARY = "libgomp.so.1"


def is_installed() -> bool:
    """Whether this machine has OpenMP's runtime."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def link_bundled(folder: Path) -> bool:
    """Links scikit-learn's runtime into a folder under the name that LightGBM loads; False if there is none."""
    bundled = [file for file in files("scikit-learn") or [] if file.name.startswith("libgomp")]
    if not bundled:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / LIBRARY
    link.unlink(missing_ok=True)
    link.symlink_to(Path(str(bundled[0].locate())).resolve())
    return True
