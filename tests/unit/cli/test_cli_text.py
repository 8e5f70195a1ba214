from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptsync.cli import text


@given(st.text(alphabet=st.characters()))
def test_escaped_text_is_printable_and_encodes(raw: str) -> None:
    escaped = text.escape(raw)
    assert escaped.isprintable()
    escaped.encode("utf-8")


@given(st.text())
def test_printable_text_stays_as_it_is(raw: str) -> None:
    if raw.isprintable():
        assert text.escape(raw) == raw


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("x\u202egpj.zip", r"x\u202egpj.zip"),
        ("\udcff", r"\udcff"),
        ("Größe 模型", "Größe 模型"),
    ],
)
def test_what_could_forge_a_line_is_shown_as_an_escape(raw: str, shown: str) -> None:
    assert text.escape(raw) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (4.21, "4.2 s"), (59.94, "59.9 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(("number", "shown"), [(0, "0 files"), (1, "1 file"), (2000, "2,000 files")])
def test_counts(number: int, shown: str) -> None:
    assert text.count(number, "file") == shown


def test_columns_are_as_wide_as_their_longest_cell_once_escaped() -> None:
    lines = [
        text.plain(line) for line in text.table(("name", "steps"), [("a\nb", "1"), ("long name", "2,048")], right=(1,))
    ]
    assert lines == ["name       steps", r"a\nb           1", "long name  2,048"]
