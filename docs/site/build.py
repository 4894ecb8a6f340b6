"""Builds the site of the documents: `make docs-site`. It needs no internet, and neither does a reader of the site.

>>> python docs/site/build.py build/docs-site
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import reference
from pages import REPOSITORY, Page, read_pages

HERE = Path(__file__).resolve().parent

SECTIONS = {
    "tutorial": ("Tutorial", "From the first start to a model of your own."),
    "howto": ("How to", "One task at a time."),
    "reference": ("Reference", "What there is, completely."),
    "explanation": ("Explanation", "Why it is built this way, and what it guarantees."),
}
TITLES = {"tutorial/tutorial.md": "Tutorial", "tutorial/tutorial-ko.md": "튜토리얼 (한국어)"}
"""Of pages whose document has another title."""


def write_sources(folder: Path) -> list[Page]:
    """Writes the Markdown of every page."""
    pages = [*read_pages(), *make_reference()]
    for page in pages:
        title, _, body = page.text.partition("\n")
        write(folder / page.path, f"# {TITLES[page.path]}\n{body}" if page.path in TITLES else f"{title}\n{body}")
    for name in SECTIONS:
        write(
            folder / name / "index.md",
            make_contents(name, [page for page in pages if page.path.startswith(f"{name}/")]),
        )
    write(folder / "reference/openapi.json", json.dumps(reference.describe_http(), indent=2))
    shutil.copy(REPOSITORY / "docs/dataset.schema.json", folder / "reference")
    shutil.copy(HERE / "front-page.txt", folder / "index.md")
    shutil.copytree(REPOSITORY / "docs/images", folder / "images", dirs_exist_ok=True)
    shutil.copytree(HERE / "diagrams", folder / "diagrams", dirs_exist_ok=True)
    return pages


def make_reference() -> list[Page]:
    """The pages that the programs describe themselves."""
    texts = {
        "commands": reference.write_commands(),
        "http": reference.write_http(reference.describe_http()),
        "dataset": reference.write_dataset(),
        "settings": reference.write_settings(),
    }
    return [Page(f"reference/{name}.md", text, "") for name, text in texts.items()]


def make_contents(name: str, pages: list[Page]) -> str:
    """The first page of a section, with a link to each of its pages."""
    title, sentence = SECTIONS[name]
    # Generated pages of the reference come first.
    names = [Path(page.path).stem for page in sorted(pages, key=lambda page: page.document != "")]
    return "\n".join([f"# {title}", "", sentence, "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""])


def write(file: Path, text: str) -> None:
    """Writes a file and its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def build(folder: Path) -> int:
    """Writes the sources and builds the site; a warning of Sphinx fails it."""
    shutil.rmtree(folder, ignore_errors=True)
    write_sources(folder / "source")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", str(HERE)]
    command = [sys.executable, "-m", "sphinx", *options, str(folder / "source"), str(folder / "site")]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if code := build(target):
        sys.exit(code)
    print(f"Open {target / 'site/index.html'}")
