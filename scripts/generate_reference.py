"""Write the reference pages that come from the code: commands, exit codes, findings.

python scripts/generate_reference.py            write docs/reference/{cli,exit-codes,findings}.md
python scripts/generate_reference.py --check    exit 1 and name the pages that are not up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.cli.command import COMMON, Argument, Command
from ckptsync.core.errors import EXIT_CODE_MEANINGS, ExitCode
from ckptsync.core.findings import CODES, Verdict

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTICE = "<!-- Written by scripts/generate_reference.py from the code. Change the code, then run `make docs`. -->"


def pages() -> dict[str, str]:
    """Return file name -> text of every generated page."""
    makers = {"cli.md": _cli, "exit-codes.md": _exit_codes, "findings.md": _findings}
    return {name: "\n".join(maker()).rstrip("\n") + "\n" for name, maker in makers.items()}


def _cli() -> Iterator[str]:
    yield from ("# Commands", "", NOTICE, "")
    yield "Results go to stdout, progress and logs to stderr. With `--json` every command prints one object on one"
    yield "line, with a `schema` and the `exit_code`, also when it fails: then `error` has `kind`, `message` and `hint`."
    yield "Fields may be added to an object; a field never changes its meaning. An unknown exit code is a failure."
    yield ""
    yield f"`ckptsync` alone shows {CATALOGUE.overview.help} (`{CATALOGUE.overview.schema}`)."
    for group, commands in CATALOGUE.groups.items():
        yield from ("", f"## {group}", "", "| command | what it does |", "|---|---|")
        for command in commands:
            yield f"| [`{command.name}`](#ckptsync-{command.name}) | {command.help} |"
    yield from ("", "## Options of every command", "")
    yield from _table(COMMON)
    yield "| `-h`, `--help` | help with examples and exit codes |"
    yield "| `--version` | the version |"
    for command in CATALOGUE.commands:
        yield from _command(command)


def _command(command: Command) -> Iterator[str]:
    yield from ("", f"## ckptsync {command.name}", "", command.help[:1].upper() + command.help[1:] + ".", "")
    yield from ("```", f"ckptsync {command.name}{_usage(command)}", "```", "")
    if command.description:
        yield from (command.description, "")
    if command.arguments:
        yield from _table(command.arguments)
        yield ""
    yield from ("Examples:", "", "```sh")
    width = max(len(line) for line, _ in command.examples)
    yield from (f"{line:{width}}  # {words}" for line, words in command.examples)
    yield from ("```", "")
    codes = ", ".join(str(int(code)) for code in command.all_exit_codes)
    yield f"JSON: `{command.schema}`. [Exit codes](exit-codes.md): {codes}."
    if command.see_also:
        yield "See also: " + ", ".join(f"[`{name}`](#ckptsync-{name})" for name in command.see_also) + "."


def _usage(command: Command) -> str:
    words = ""
    for arg in command.arguments:
        name = _name(arg, arg.flags[-1])
        words += f" {name}" if arg.positional and "nargs" not in arg.options else f" [{name}]"
    return words


def _name(arg: Argument, flag: str) -> str:
    choices = "|".join(arg.options.get("choices", ()))
    if arg.positional:
        return str(arg.options.get("metavar") or choices or flag)
    value = arg.options.get("metavar") or choices
    return f"{flag} {value}" if value else flag


def _table(arguments: tuple[Argument, ...]) -> Iterator[str]:
    yield from ("| argument | meaning |", "|---|---|")
    for arg in arguments:
        names = ", ".join(f"`{_name(arg, flag)}`" for flag in arg.flags)
        yield f"| {names.replace('|', chr(92) + '|')} | {arg.options['help']} |"


def _exit_codes() -> Iterator[str]:
    yield from ("# Exit codes", "", NOTICE, "")
    yield "Every error class has one code; each command's codes are listed on [its page](cli.md)."
    yield "An unknown code must be treated as a failure."
    yield from ("", "| code | name | meaning |", "|---|---|---|")
    for code in ExitCode:
        yield f"| {int(code)} | `{code.name}` | {EXIT_CODE_MEANINGS[code]} |"


def _findings() -> Iterator[str]:
    yield from ("# Verdicts and findings", "", NOTICE, "")
    yield "A checkpoint's verdict is the worst that one of its blocking findings leads to. Verdicts, worst first:"
    yield from ("", "| verdict | exit code of `verify` |", "|---|---|")
    for verdict in Verdict:
        yield f"| `{verdict}` | {int(verdict.exit_code)} |"
    yield from ("", "A finding has a stable `code`, a `severity` (`blocker`, `warning`, `note`), a `subject`, what was")
    yield "`expected`, what is there (`actual`) and a `hint`. A code never changes its meaning; new ones may be added."
    for verdict in (*Verdict, None):
        codes = [(code, meaning) for code, (leads_to, meaning) in CODES.items() if leads_to is verdict]
        if codes:
            yield from ("", f"## {f'As a blocker: {verdict}' if verdict else 'Never a blocker'}", "")
            yield from ("| code | meaning |", "|---|---|")
            yield from (f"| `{code}` | {meaning} |" for code, meaning in codes)


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write the reference pages that come from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is not up to date")
    check = parser.parse_args().check
    old = 0
    for name, text in pages().items():
        page = REFERENCE / name
        if page.is_file() and page.read_text("utf-8") == text:
            continue
        old += 1
        if check:
            print(f"{page} is not up to date; run: make docs", file=sys.stderr)
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
            print(f"wrote {page}")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
