"""Rules of the words: plain English in docstrings, comments, messages, test names and documents."""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.repo.repository import ROOT, find_files

DOCUMENTS = [file for file in find_files("*.md", "docs/*.md") if not file.name.endswith(".ko.md")]
OTHER_FILES = (
    "*.md", "docs/**/*.md", "**/*.sh", "**/*.y*ml", "**/*.toml", "**/*.sql", "docker/nginx/**/*", ".github/**/*",
    "Dockerfile", "Makefile", ".env.example",
)  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MULTI = re.DOTALL | re.MULTILINE

MAX_WORDS = 25
"""Of a sentence in a document, between its stops, colons and semicolons."""

BANNED = {
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix",
    r"by (itself|themselves)": "automatically, alone",
    r"cut off": "interrupted; truncated",
    r"takes? in(?= (an?|the|new|all|what|rows|files)\b)": "process, validate, accept",
    r"lets": "the action: points, allows, makes",
    r"whoever asks|(?<!person\s)(?<!client\s)who asks": "the caller, the client",
    r"(that|which|what) (is|are|was|were) (none|no (?!longer|more|less|better|worse|other|\w+er\b)\w+)": "is not a",
    r"whatever (came|comes|it was|is written|was asked)": "the thing itself",
    r"to be had": "available",
    r"for ever": "forever",
}
"""Phrases that are banned, as regular expressions, and their replacement."""

RETURNS = re.compile(
    r"(?:^|[,;]\s+(?:and\s+)?|\band\s+)answers\s+(?:its|how|what|where|which|None|the\s+(?!golden|row|body|request)|an?\s)",
    re.IGNORECASE,
)
"""A function returns; only a model, a replica or a server answers."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a file, and the line where it begins."""

    file: Path
    line: int
    text: str

    def locate(self, found: re.Match[str]) -> str:
        """File and line of a match, with its words."""
        line = self.line + self.text.count("\n", 0, found.start())
        return f"{self.file.relative_to(ROOT)}:{line}: {' '.join(found[0].split())}"


@cache
def list_trees() -> tuple[tuple[Path, ast.Module], ...]:
    """The Python files except this one, which holds the phrases."""
    return tuple((file, ast.parse(file.read_text())) for file in find_files("**/*.py") if file != Path(__file__))


def list_docstrings() -> Iterator[Text]:
    """Docstrings of functions."""
    for file, tree in list_trees():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS) and (found := ast.get_docstring(node, clean=False)):
                yield Text(file, node.body[0].lineno, found)


@cache
def list_texts() -> tuple[Text, ...]:
    """Docstrings, messages, comments and test names of Python files, and all of every other file."""
    others = [Text(file, 1, file.read_text()) for file in find_files(*OTHER_FILES)]
    return (*find_python_texts(), *others)


def find_python_texts() -> Iterator[Text]:
    for file, tree in list_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield Text(file, node.lineno, node.value)
            elif isinstance(node, FUNCTIONS) and node.name.startswith("test_"):
                yield Text(file, node.lineno, node.name.replace("_", " "))
        yield from list_comments(file)


def list_comments(file: Path) -> Iterator[Text]:
    """The comments of a Python file; those on lines that follow each other are one text."""
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    for first in [line for line in comments if line - 1 not in comments]:
        run = itertools.takewhile(comments.__contains__, itertools.count(first))
        yield Text(file, first, "\n".join(comments[line] for line in run))


def list_sentences(file: Path) -> Iterator[Text]:
    """The sentences of a document, without code blocks, headings and tables."""
    prose = re.sub(r"```.*?```|^(#|\|).*?$", lambda found: "\n" * found[0].count("\n"), file.read_text(), flags=MULTI)
    for found in re.finditer(r"(?:[^.:;?!\n]|[.:;?!](?!\s)|\n(?!\s*(?:\n|[-*>] |\d+\. )))+", prose):
        yield Text(file, 1 + prose.count("\n", 0, found.start()), found[0])


@pytest.mark.parametrize("phrase", BANNED)
def test_a_banned_phrase_is_replaced(phrase: str) -> None:
    expression = re.compile(rf"\b(?:{phrase})\b".replace(" ", r"\s+"), re.IGNORECASE)
    found = [text.locate(match) for text in list_texts() for match in expression.finditer(text.text)]
    assert not found, f"write instead: {BANNED[phrase]}\n" + "\n".join(found)


def test_a_function_returns_and_does_not_answer() -> None:
    found = [text.locate(match) for text in list_docstrings() for match in RETURNS.finditer(text.text)]
    assert not found, "write instead: returns\n" + "\n".join(found)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_a_sentence_of_a_document_is_short(file: Path) -> None:
    long = [text for text in list_sentences(file) if len(text.text.split()) > MAX_WORDS]
    assert not long, "\n".join(f"{file.relative_to(ROOT)}:{text.line}: {' '.join(text.text.split())}" for text in long)
