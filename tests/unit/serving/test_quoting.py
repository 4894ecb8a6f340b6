from __future__ import annotations

import pytest

from serving.quoting import MAX_QUOTED, Quotes, show


@pytest.mark.parametrize(
    ("text", "shown"), [("busan", "'busan'"), ("a\tb", r"'a\tb'"), ("it's", '"it\'s"'), ("", "''")]
)
def test_a_short_text_is_shown_as_it_is(text: str, shown: str) -> None:
    assert show(text, 20) == shown
    assert Quotes().describe(text) == f"the text {shown}"


@pytest.mark.parametrize("sign", ["a", "\n", "\x00", "\ufeff", "\U000e0001", "한"])
@pytest.mark.parametrize("most", [20, 100, MAX_QUOTED])
def test_escaping_makes_no_text_longer_than_the_limit(sign: str, most: int) -> None:
    shown = show(sign * 1000, most)
    assert len(shown) <= most + 2
    assert shown.endswith("...'")


def test_the_quotations_of_one_response_are_bounded_together_whatever_their_characters() -> None:
    quotes = Quotes()
    described = [quotes.describe("\U000e0001" * 100) for _ in range(50)]
    assert sum(len(text) - len("the text ''") for text in described if text != "a text") <= MAX_QUOTED + 10
    assert described[-1] == "a text"
