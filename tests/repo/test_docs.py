"""Rules of the generated pages, and of the README in its two languages."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from ml_code.dataset_schema import COMMENT, render_schema
from ml_code.drift_rules import DriftRules
from ml_code.housekeeping.finding import FINDERS
from ml_code.housekeeping.rules import OURS, RULES, render_table
from tests.repo.repository import ROOT, find_files

README, KOREAN = (ROOT / "README.md").read_text(), (ROOT / "README.ko.md").read_text()
IMAGES = find_files("docs/images/*")
MAX_IMAGE_KB = 150


def load_dags_page() -> ModuleType:
    """Loads the script from its file, because docs/ is not a package."""
    spec = importlib.util.spec_from_file_location("dags_page", ROOT / "docs/dags.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_dags_matches_their_docstrings() -> None:
    page = load_dags_page()
    assert page.PAGE.read_text() == page.write_page(), "make docs"


def test_the_schema_of_a_dataset_matches_the_classes_that_read_it() -> None:
    assert (ROOT / "docs/dataset.schema.json").read_text() == render_schema(), "make docs"


def test_every_shipped_dataset_names_the_schema_for_editors() -> None:
    for file in find_files("ml_code/catalog/*.toml"):
        first = file.read_text().partition("\n")[0]
        assert first == COMMENT
        assert (file.parent / first.removeprefix("#:schema ")).resolve() == ROOT / "docs/dataset.schema.json"


def test_every_dag_has_its_part_of_the_page() -> None:
    text = (ROOT / "docs/dags.md").read_text()
    for file in find_files("dags/*.py"):
        assert f"\n## {file.stem}\n" in text
        assert f"(#{file.stem})" in text


def list_headings(text: str) -> list[int]:
    """Levels of the headings, one after another."""
    outside_of_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", outside_of_code, flags=re.MULTILINE)]


def list_commands(text: str) -> list[list[str]]:
    """Code blocks without comments and diagrams, which are translated."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL)
    return [[re.sub(r"\s+#.*", "", line) for line in block.splitlines()] for kind, block in blocks if kind != "mermaid"]


def list_tables(text: str) -> list[tuple[int, int]]:
    """Rows and columns of each table."""
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    return [(table.count("\n"), table.splitlines()[0].count("|") - 1) for table in tables]


def list_spans(text: str) -> list[str]:
    """Code spans and targets of links, which are not translated."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = list(re.findall(r"\]\(([^)]+)\)|<(http[^>]+)>", prose))
    return sorted(re.findall(r"`([^`\n]+)`", prose)) + sorted(a or b for a, b in links if "README" not in a)


@pytest.mark.parametrize("read", [list_headings, list_commands, list_tables, list_spans])
def test_both_readmes_have_the_same_content(read: object) -> None:
    assert callable(read)
    assert read(README) == read(KOREAN) != []


def test_each_readme_links_the_other() -> None:
    assert "(README.ko.md)" in README
    assert "(README.md)" in KOREAN


def test_the_korean_readme_is_korean() -> None:
    assert len(re.findall(r"[가-힣]", KOREAN)) > 1000


def test_the_readme_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 180


def test_images_are_small_and_shown_somewhere() -> None:
    shown = "\n".join(file.read_text() for file in find_files("*.md", "docs/*.md"))
    assert IMAGES
    for image in IMAGES:
        assert image.stat().st_size < MAX_IMAGE_KB * 1000, image
        assert image.name in shown


def test_names_of_other_tutorials_lead_to_files_that_exist() -> None:
    text = (ROOT / "docs/names.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    paths = [path for row in rows for path in re.findall(r"`([\w./-]+/[\w./-]*)`", row[2])]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / Path(path)).exists()] == []


def test_the_time_of_a_row_is_that_of_the_figures() -> None:
    figures = (ROOT / "docs/figures.md").read_text()
    times = list(map(int, re.findall(r"^\| \w+ \| \w+ \| .* \| (\d+) µs \| [\d.]+ MB \|$", figures, re.MULTILINE)))
    assert len(times) == 15
    for text in (README, KOREAN, (ROOT / "docs/architecture.md").read_text()):
        assert f"{min(times)}-{max(times)} µs" in text


def test_the_table_of_drift_has_each_rule_with_its_default() -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("\n## Drift and retraining\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, flags=re.MULTILINE))
    defaults = {name: field.default for name, field in DriftRules.model_fields.items()}
    assert rows == {
        name: str(value).lower() if isinstance(value, bool) else f"{value:g}" for name, value in defaults.items()
    }


def test_the_table_of_housekeeping_is_that_of_its_rules() -> None:
    assert render_table() in (ROOT / "docs/operations.md").read_text()
    assert {rule.name for rule in OURS} == set(FINDERS)
    example = (ROOT / ".env.example").read_text()
    assert [name for rule in RULES for name in rule.limits if f"\n{name}=" not in example] == []


def test_the_newest_release_of_the_changes_is_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    releases = headings[headings[0] == "Unreleased" :]
    assert releases[0] == version
    assert releases == sorted(set(releases), key=lambda name: tuple(map(int, name.split("."))), reverse=True)
