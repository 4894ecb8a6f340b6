from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ml_code.markdown import escape, quote_code

TEXTS = st.text("#>+-=_*`~|[]()!<>&;\\\\$:/ .10ab\n나", min_size=1).filter(str.strip)


def show(markdown: str, element: str) -> str:
    """The characters of a page of one paragraph, which has no other element."""
    page = MarkdownIt().enable(["table", "strikethrough"]).render(markdown)
    [text] = re.findall(rf"\A<p>{element}(.*){element.replace('<', '</')}</p>\n\Z", page, flags=re.DOTALL)
    assert "<" not in text
    return html.unescape(text)


@given(TEXTS)
@example("1. first")
@example("12) twelfth")
@example("--- # > * <b> &amp; [a](b) ~~x~~ `c`")
def test_an_escaped_text_is_shown_as_it_is(text: str) -> None:
    assert show(escape(text), "") == " ".join(text.split())


@given(TEXTS)
@example("`")
@example("a``b`")
def test_a_quoted_name_is_code_and_shown_as_it_is(text: str) -> None:
    assert show(quote_code(text), "<code>") == " ".join(text.split())


@pytest.mark.parametrize("text", ["iris: promoted, 0.97 >= 0.85, the first model", "0.4 < 0.6", "distance (km)"])
def test_a_plain_text_is_not_escaped(text: str) -> None:
    assert escape(text) == text
