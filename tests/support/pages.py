"""The documentation as data: pages, headings, links, code blocks, tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`(?P<text>[^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block of code.

    Args:
        page: the file that it stands in.
        line: the number of its first line.
        language: the word behind the fence.
        text: what is in it, without the indentation of the fence.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every page that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def read(page: Path) -> str:
    """Return a page's text."""
    return page.read_text("utf-8")


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return a page's blocks of code in some languages, in order."""
    text = read(page)
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] in languages:
            indent = len(match["indent"])
            body = "".join(line[indent:] for line in match["text"].splitlines(keepends=True))
            found.append(Block(page, text.count("\n", 0, match.start("text")) + 1, match["language"], body))
    return found


def all_blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in pages() for block in blocks(page, *languages)]


def prose(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return _FENCE.sub("", read(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for match in _HEADING.finditer(prose(page)):
        words = re.sub(r"[^\w\- ]", "", match["words"].lower()).replace(" ", "-")
        number = sum(1 for known in found if known == words or re.fullmatch(rf"{re.escape(words)}-\d+", known))
        found.add(f"{words}-{number}" if number else words)
    return found


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return [match["target"] for match in _LINK.finditer(prose(page))]


def inline_code(text: str) -> list[str]:
    """Return what stands between backticks in a text."""
    return [match["text"] for match in _CODE.finditer(text)]


def section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next one of the same or a higher level."""
    text = read(page)
    match = re.search(rf"^(?P<level>#+) {re.escape(heading)}$", text, re.MULTILINE)
    if match is None:
        raise AssertionError(f"{page} has no heading {heading!r}")
    rest = text[match.end() :]
    following = re.search(rf"^#{{1,{len(match['level'])}}} ", _blanked(rest), re.MULTILINE)
    return rest[: following.start()] if following else rest


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows in a text, without headings."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_heading = number + 1 < len(lines) and lines[number + 1].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_heading:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def _blanked(text: str) -> str:
    # A comment in a block of code is no heading; its place must stay
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
