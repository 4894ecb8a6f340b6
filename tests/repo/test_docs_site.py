"""The site of the documents: complete, without broken links, and without anything from another host."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from ml_code.datasets import Dataset
from ml_code.settings import Settings
from serving.errors import STATUSES
from tests.repo.repository import ROOT, find_files

LOADED = re.compile(r'<(?:script|img|iframe|source|audio|video)\b[^>]*?\ssrc="([^"]+)"|<link\b[^>]*?\shref="([^"]+)"')
LINKED = re.compile(r'<(?:a|img|link|script)\b[^>]*?\s(?:href|src)="([^"]+)"')
"""Of HTML that Sphinx wrote."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs-site")
    command = [sys.executable, str(ROOT / "docs/site/build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def read(site: Path, page: str) -> str:
    """The words of a page, without tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", (site / page).read_text()))


def list_pages(site: Path) -> list[Path]:
    return [page for page in site.rglob("*.html") if page.name not in {"search.html", "genindex.html"}]


def list_links(page: Path) -> Iterator[tuple[Path, str]]:
    """File and anchor of each link to a page of the site."""
    for target in LINKED.findall(page.read_text()):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = html.unescape(target).partition("#")
            yield (page.parent / unquote(path.partition("?")[0])).resolve() if path else page, unquote(anchor)


def test_every_link_has_a_target(site: Path) -> None:
    found, missing = 0, []
    read_ids = cache(lambda file: set(re.findall(r'id="([^"]+)"', file.read_text())))
    for page in list_pages(site):
        for file, anchor in list_links(page):
            found += 1
            if not file.exists() or (anchor and anchor not in read_ids(file)):
                missing.append(f"{page.relative_to(site)}: {file.name}#{anchor}")
    assert found > 1000
    assert missing == []


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    pairs = [pair for page in list_pages(site) for pair in LOADED.findall(page.read_text())]
    loaded = [source for pair in pairs for source in pair if source]
    assert loaded
    assert [source for source in loaded if re.match(r"(https?:)?//", source)] == []
    styles = "\n".join(file.read_text() for file in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", styles) == []


def test_every_document_is_a_page(site: Path) -> None:
    pages = {read(site, str(page.relative_to(site))).partition(" - ")[0].strip() for page in list_pages(site)}
    for document in find_files("docs/*.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        title = document.read_text().partition("\n")[0].removeprefix("# ")
        assert title in pages or document.name == "operations.md", document
    sections = re.findall(r"^## (.+)$", (ROOT / "docs/operations.md").read_text(), flags=re.MULTILINE)
    assert set(sections) <= pages


def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    text = read(site, "reference/commands.html")
    for words in (
        "mlops dataset add",
        "--bad-rows <float range>",
        "mlops local up",
        "mlops users remove",
        "mlops train",
    ):
        assert words in text


def test_the_reference_has_every_path_and_status(site: Path) -> None:
    text = read(site, "reference/http.html")
    for words in ("POST /predict", "POST /models/iris/predict", "POST /feedback", "GET /rollouts", "petal_width"):
        assert words in text
    assert [status for status in STATUSES if not re.search(rf"^{status}$", text, flags=re.MULTILINE)] == []


def test_the_reference_has_every_key_of_a_dataset(site: Path) -> None:
    text = read(site, "reference/dataset.html")
    for words in (*Dataset.model_fields, "bad_rows_share", "thousands", "window_seconds", "largest_regression"):
        assert re.search(rf"^{words}$", text, flags=re.MULTILINE), words


def test_the_reference_has_every_setting(site: Path) -> None:
    text = read(site, "reference/settings.html")
    variables = re.findall(r"^([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    for name in (*variables, *(f"MLOPS_{field}".upper() for field in Settings.model_fields)):
        assert re.search(rf"^{name}$", text, flags=re.MULTILINE), name


def test_the_korean_tutorial_is_marked_as_korean(site: Path) -> None:
    assert 'lang="ko"' in (site / "tutorial/tutorial-ko.html").read_text()
    assert 'lang="en"' in (site / "tutorial/tutorial.html").read_text()
