"""Text for terminals: foreign text made harmless, numbers for people, tables.

A line is a text, or a sequence of texts and Styled parts. Colour is put in by the sink alone, after
every part was escaped, so no file's name can move the cursor or forge a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..core.units import duration_text

Role = Literal["good", "bad", "warn", "dim", "strong"]


@dataclass(frozen=True)
class Styled:
    """A part of a line with a meaning that may be shown in colour."""

    text: str
    role: Role

    def __str__(self) -> str:
        return self.text


Part = str | Styled
Line = Part | Sequence[Part]


def good(text: str) -> Styled:
    """Mark what is as it should be."""
    return Styled(text, "good")


def bad(text: str) -> Styled:
    """Mark what is broken or refused."""
    return Styled(text, "bad")


def warn(text: str) -> Styled:
    """Mark what people should look at."""
    return Styled(text, "warn")


def dim(text: str) -> Styled:
    """Mark what may be passed over."""
    return Styled(text, "dim")


def strong(text: str) -> Styled:
    """Mark a heading."""
    return Styled(text, "strong")


def escape(text: str) -> str:
    """Return foreign text with every character that is not printable as a backslash escape.

    Control characters, line breaks, direction marks and lone surrogates would otherwise move the
    cursor, forge lines or stop the output.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def parts_of(line: Line) -> Sequence[Part]:
    """Return a line as its parts."""
    return (line,) if isinstance(line, str | Styled) else line


def plain(line: Line) -> str:
    """Return a line as escaped text without colour."""
    return "".join(escape(str(part)) for part in parts_of(line))


def count(number: int, word: str, plural: str = "") -> str:
    """Return `1 file`, `2 files`, `3 entries`."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def duration(seconds: float | None) -> str:
    """Return seconds for people, as `duration_text` does; `-` when unknown."""
    return "-" if seconds is None else duration_text(seconds)


def value(item: Any) -> str:
    """Return a JSON value for people; unknown is `-`."""
    if item is None:
        return "-"
    return f"{item:,}" if type(item) is int else str(item)


def table(head: Sequence[str], rows: Iterable[Sequence[Part]], *, right: Iterable[int] = ()) -> list[Line]:
    """Lay out rows under a heading, each column as wide as its longest cell.

    Args:
        head: names of the columns.
        rows: as many cells each.
        right: indexes of the columns that are set to the right, as numbers are.
    """
    cells: list[Sequence[Part]] = [[strong(name) for name in head], *rows]
    texts = [[escape(str(cell)) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    to_right, last = frozenset(right), len(head) - 1
    lines: list[Line] = []
    for row, shown in zip(cells, texts, strict=True):
        parts: list[Part] = [""]
        for column, (cell, content) in enumerate(zip(row, shown, strict=True)):
            gap = " " * (widths[column] - len(content))
            before, behind = (gap, "  ") if column in to_right else ("", gap + "  ")
            behind = "" if column == last else behind
            if isinstance(cell, Styled):
                parts += [before, Styled(content, cell.role), behind]
            else:  # neighbours without colour become one part: long tables are made of few
                parts[-1] = f"{parts[-1]}{before}{content}{behind}"
        lines.append(parts if len(parts) > 1 else parts[0])
    return lines
