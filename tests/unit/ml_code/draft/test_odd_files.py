"""No file ends `mlops dataset add` in a traceback, and intake and split accept what it drafts."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_code.data.holdout import split_holdout
from ml_code.data.validation import check_rows, narrow_target
from ml_code.draft.drafting import Request, draft_dataset
from ml_code.errors import MlopsError
from ml_code.reading.table import open_table

ODD = st.sampled_from([
    "", " ", "NA", "?", "-", "inf", "nan", "1e308", "-1e39", "18446744073709551616", "1.234.567", "1,5", "1.5", "(500)",
    "₩1,000", "59㎡", "12%", "007", "True", "false", "TRUE", "2026-01-02", "10:30", "$", "$$", "_x", "=1+1", "@cmd",
    "서울", "서울", "\u200b", "a\nb", 'say "hi"', "x" * 300, "0.0", "1.0", "-0", "\uff11\uff12", "\ufeff", "1_000",
    "0x10", "self", "None", "yes", "no",
])  # fmt: skip

CELL = st.one_of(ODD, st.integers(-5, 5).map(str), st.floats(-9, 9).map(lambda number: f"{number:.2f}"))

NAME = st.one_of(
    st.sampled_from(
        ["self", "label", "x", "y", "id", "customer_id", "index", "", "distance (km)", "나이", "a.b", "axis", "1990"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
)

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp949", "cp1252"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, str]:
    """A table of mostly odd cells, written in some dialect, and the name of its last column."""
    width = draw(st.integers(2, 4))
    header = draw(st.lists(NAME, min_size=width, max_size=width))
    columns = [draw(st.lists(CELL, min_size=1, max_size=4)) for _ in range(width)]
    rows = draw(st.integers(1, 60))
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=draw(st.sampled_from(",;\t|")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerow(header)
    writer.writerows(
        [column[(row * (place + 1)) % len(column)] for place, column in enumerate(columns)] for row in range(rows)
    )
    return text.getvalue().encode(draw(ENCODINGS), "replace"), header[-1]


def draft(content: bytes, target: str, name: str = "odd.csv") -> None:
    """Drafts the file; what is drafted must be accepted by the rules that come after it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        with contextlib.suppress(MlopsError):
            drafted = draft_dataset(file, Request(target))
            with file.open("rb") as stream:
                blocks = list(open_table(stream, name, drafted.dataset.reading))
            checked = [check_rows(drafted.dataset, block.frame) for block in blocks]
            assert sum(len(rows.good) for rows in checked) == drafted.rows - drafted.bad_rows
            split_holdout(drafted.dataset, narrow_target(drafted.dataset, checked[0].good))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(tables())
def test_odd_tables_are_drafted_or_refused(table: tuple[bytes, str]) -> None:
    draft(*table)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1", b"\x1f\x8b", b"a,b\n", b"\xff\xfe", b"%PDF-1.7\n"]
    ),
    rest=st.binary(max_size=400),
    name=st.sampled_from(["odd.csv", "odd.csv.gz", "odd.xlsx", "odd.parquet"]),
)
def test_random_bytes_are_refused_in_one_line(start: bytes, rest: bytes, name: str) -> None:
    draft(start + rest, "b", name)
