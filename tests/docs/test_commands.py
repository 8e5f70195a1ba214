"""Commands on the pages are commands of the tool, each is shown somewhere, and each has help with an example."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from support import pages

from ckptsync.cli import parser
from ckptsync.cli.app import main
from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.core.errors import ExitCode

GENERATED = {"cli.md", "exit-codes.md", "findings.md"}
_ENDS = re.compile(r"\s(?:\||&&|;|>|<|2>)")


def _shown() -> Iterator[tuple[str, str]]:
    """Yield every command line that a page shows, with the place where it stands."""
    for block in pages.all_blocks("sh", "console"):
        for line in block.text.splitlines():
            text = line.removeprefix("$ ")
            if text.startswith("ckptsync ") or text == "ckptsync":
                yield str(block), text
    for page in pages.pages():
        for code in pages.inline_code(pages.prose(page)):
            if code.startswith("ckptsync ") and "..." not in code:
                yield str(page.relative_to(pages.ROOT)), code.replace("\\|", "|")


LINES = sorted(set(_shown()))


@pytest.mark.parametrize(("place", "line"), LINES, ids=[f"{place} {line}" for place, line in LINES])
def test_shown_commands_are_understood(place: str, line: str) -> None:
    words = shlex.split(_ENDS.split(line)[0], comments=True)[1:]
    name, rest = parser.split_command(words)
    command = parser.find_command(name)
    if rest and "--version" not in rest:  # without arguments it may be meant as the name of the command
        parser.parse(command, rest)


@pytest.mark.parametrize("name", CATALOGUE.by_name)
def test_every_command_is_shown_by_people(name: str) -> None:
    words = re.compile(rf"\bckptsync {re.escape(name)}\b")
    assert any(words.search(pages.read(page)) for page in pages.pages() if page.name not in GENERATED)


@pytest.mark.parametrize("name", CATALOGUE.by_name)
def test_every_command_is_in_the_table_of_the_readme(name: str) -> None:
    text = pages.section(pages.ROOT / "README.md", "Commands")
    assert any(
        f"ckptsync {name}" in cell or name in pages.inline_code(cell) for row in pages.rows(text) for cell in row
    )


@pytest.mark.parametrize("name", CATALOGUE.by_name)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown and "exit codes:" in shown
    assert f"ckptsync {name}" in shown.partition("examples:")[2]


def test_exit_codes_in_tables_exist() -> None:
    known = {str(int(code)) for code in ExitCode}
    table = pages.rows(pages.read(pages.DOCS / "how-to" / "ci.md"))
    codes = [row[0] for row in table if row[0].isdigit()]
    assert codes and set(codes) <= known
    for page in pages.pages():
        for code in re.findall(r"\bexit (?:code )?(\d+)", pages.prose(page), re.IGNORECASE):
            assert code in known, f"{page} speaks of exit code {code}"
