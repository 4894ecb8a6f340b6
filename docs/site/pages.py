"""The pages of the site: the documents of the repository, cut into pages, with links between them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DIAGRAMS = Path(__file__).parent / "diagrams"

OPERATIONS = "docs/operations.md"
PLACES: Mapping[str, str] = {
    "README.md": "tutorial/tutorial.md",
    "README.ko.md": "tutorial/tutorial-ko.md",
    "CONTRIBUTING.md": "howto/contributing.md",
    "CHANGELOG.md": "reference/changes.md",
    "SECURITY.md": "howto/report-a-vulnerability.md",
    "docs/dags.md": "reference/dags.md",
    "docs/figures.md": "reference/figures.md",
    "docs/budgets.md": "reference/budgets.md",
    "docs/names.md": "reference/names.md",
    "docs/runbook.md": "howto/runbook.md",
    "docs/kubernetes.md": "howto/kubernetes.md",
    "docs/scaling.md": "howto/scaling.md",
    "docs/scaling.ko.md": "howto/scaling-ko.md",
    "docs/task-states.md": "reference/task-states.md",
    "docs/dataset.schema.json": "reference/dataset.md",
    "docs/architecture.md": "explanation/architecture.md",
    "docs/decisions.md": "explanation/decisions.md",
    "docs/ml-test-score.md": "explanation/ml-test-score.md",
    "docs/security.md": "explanation/security.md",
}
"""Page of each document. A further document of docs/ becomes a page of the explanation."""

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[^\S\n]*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its path in the site, its Markdown, and the document from which its relative links start."""

    path: str
    text: str
    document: str

    @property
    def title(self) -> str:
        """The first heading."""
        return self.text.partition("\n")[0].removeprefix("# ")


def slugify(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def read_pages() -> list[Page]:
    """Every document as a page; that of operations is cut at its sections."""
    others = sorted(f"docs/{file.name}" for file in (REPOSITORY / "docs").glob("*.md"))
    documents = [name for name in {**PLACES, **dict.fromkeys(others)} if name.endswith(".md") and name != OPERATIONS]
    pages = [
        Page(PLACES.get(name, f"explanation/{Path(name).name}"), (REPOSITORY / name).read_text(), name)
        for name in documents
        if (REPOSITORY / name).exists()
    ]
    return link_pages([*cut((REPOSITORY / OPERATIONS).read_text()), *pages])


def cut(text: str) -> list[Page]:
    """The sections of the operations document as pages of their own, each heading one level higher."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    raised = [re.sub(r"^#(#+ )", r"\1", f"## {section}", flags=re.MULTILINE) for section in sections]
    return [Page(f"howto/{slugify(text.partition(chr(10))[0][2:])}.md", text, OPERATIONS) for text in raised]


def link_pages(pages: Iterable[Page]) -> list[Page]:
    """Replaces links between documents by links between pages, and diagrams by pictures."""
    pages = list(pages)
    sections = {slug: page.path for page in pages if page.document == OPERATIONS for slug in list_anchors(page.text)}
    places = {**PLACES, **{page.document: page.path for page in pages if page.document != OPERATIONS}}
    return [Page(page.path, _replace(page, places, sections), page.document) for page in pages]


def list_anchors(text: str) -> list[str]:
    """The anchors of a text's headings."""
    return [slugify(heading) for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), flags=re.MULTILINE)]


def _replace(page: Page, places: Mapping[str, str], sections: Mapping[str, str]) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(page.text):
        parts.append(_replace_links(page, page.text[end : fence.start()], places, sections))
        parts.append(_draw(page, fence[2]) if fence[1] == "mermaid" else fence[0])
        end = fence.end()
    return "".join([*parts, _replace_links(page, page.text[end:], places, sections)])


def _replace_links(page: Page, text: str, places: Mapping[str, str], sections: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        if "://" in target:
            return found[0]
        path, _, anchor = target.partition("#")
        name = os.path.normpath((Path(page.document).parent / path).as_posix()) if path else page.document
        place = _find(name, anchor, places, sections)
        if place is None:  # a file of the repository that is not a page
            return label.removeprefix("[").removesuffix("]")
        here = Path(page.path).parent.as_posix()
        return f"{label}({os.path.relpath(place, here)}{'#' + anchor if anchor else ''})"

    return LINK.sub(replace, text)


def _find(name: str, anchor: str, places: Mapping[str, str], sections: Mapping[str, str]) -> str | None:
    if name == OPERATIONS:
        if anchor and anchor not in sections:
            raise ValueError(f"{OPERATIONS}#{anchor}: found no such heading, expected one; correct the link")
        return sections[anchor] if anchor else "howto/index.md"
    if name.startswith("docs/images/"):
        return name.removeprefix("docs/")
    return places.get(name)


def name_diagram(source: str) -> str:
    """The file of a diagram's picture, named by the diagram's text."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.svg"


def _draw(page: Page, source: str) -> str:
    """The picture of a diagram; its text where nobody has drawn it since its last change."""
    name = name_diagram(source)
    if not (DIAGRAMS / name).exists():
        return f"```text\n{source}```"
    return f"![diagram]({os.path.relpath(f'diagrams/{name}', Path(page.path).parent)}){{.diagram}}"
