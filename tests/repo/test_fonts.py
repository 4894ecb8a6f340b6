"""The image in which plots are drawn has a Korean font that the plots look for."""

from __future__ import annotations

import re

from ml_code.training.labels import FAMILIES
from tests.repo.repository import ROOT


def test_the_image_keeps_a_korean_font_that_plots_use() -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    [airflow] = [stage for stage in stages if stage.startswith("base AS airflow")]
    packages = re.findall(r"apt-get install -y --no-install-recommends ([a-z0-9 -]+)", airflow)
    assert any("fonts-nanum" in found.split() for found in packages)
    [kept] = re.findall(r"find /usr/share/fonts/\S+ -type f ! -name (\w+)\.ttf -delete", airflow)
    assert kept in FAMILIES
