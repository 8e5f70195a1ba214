"""Words on the pages that the code must know: messages, files, and the vocabulary of the glossary."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from support import pages

from ckptsync.core import manifest
from ckptsync.core.findings import Severity, Verdict

TROUBLES = [pages.DOCS / "how-to" / name for name in ("troubleshooting.md", "kaggle-troubles.md")]
GLOSSARY = pages.DOCS / "glossary.md"
DESIGN = pages.DOCS / "explanation" / "design.md"


@cache
def _said() -> tuple[str, ...]:
    """Return every piece of text that the package can say."""
    return tuple(
        node.value
        for source in (pages.ROOT / "ckptsync").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _symptoms() -> list[str]:
    return [name for page in TROUBLES for row in pages.rows(pages.read(page)) for name in pages.inline_code(row[0])]


def _pieces(symptom: str) -> list[str]:
    # What is filled in is shown as `...` or as an example behind a colon or an equals sign
    parts = re.split(r"\.\.\.|[=:,] ?(?:\[[^\]]*\])?|(?<=has )\d+", symptom)
    return [part.strip(" -;?'") for part in parts if len(part.strip(" -;?'")) > 3]


@pytest.mark.parametrize("symptom", _symptoms())
def test_a_symptom_is_what_the_tool_says(symptom: str) -> None:
    pieces = _pieces(symptom)
    assert pieces
    for piece in pieces:
        assert any(piece in said for said in _said()), f"nothing in ckptsync says {piece!r}"


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_files_of_this_project_that_are_named_exist(page: Path) -> None:
    for name in pages.inline_code(pages.prose(page)):
        if re.fullmatch(r"(?:tests|ckptsync|scripts|docs|benchmarks)/[\w./-]+", name):
            assert (pages.ROOT / name).exists(), f"{name} is not there"
        elif re.fullmatch(r"(?:core|training|sync|cli|project|runners)/[\w./-]+", name):
            assert (pages.ROOT / "ckptsync" / name).exists(), f"{name} is not there"


def test_the_glossary_has_the_words_of_the_code() -> None:
    text = pages.read(GLOSSARY)
    words = set(pages.inline_code(text))
    assert set(manifest.KINDS) | set(Verdict) | set(Severity) | set(manifest.FIDELITIES) <= words


def test_the_design_names_every_layer() -> None:
    folders = {path.parent.name for path in (pages.ROOT / "ckptsync").glob("*/__init__.py")} - {"testing"}
    assert folders <= set(re.findall(r"\w+", pages.section(DESIGN, "The layers")))
