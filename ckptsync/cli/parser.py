"""argparse made from the catalogue: one small parser for the command at hand, with "did you mean"."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..core.errors import EXIT_CODE_MEANINGS, UsageError
from ..core.nearest import nearest
from .catalogue import CATALOGUE
from .command import COMMON, Command

PROGRAM = "ckptsync"
_VALUED = {flag for arg in COMMON if "action" not in arg.options for flag in arg.flags}
_HELP = ("-h", "--help")
_WIDTH = 100


class HelpRequested(Exception):
    """Somebody asked for help; the text is the message."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")

    def print_help(self, file: Any = None) -> NoReturn:
        raise HelpRequested(self.format_help())


def split_command(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the command's name out of the arguments; common options may stand before it."""
    place = 0
    while place < len(argv) and argv[place].startswith("-"):
        place += 2 if argv[place] in _VALUED else 1
    if place >= len(argv):
        return None, list(argv)
    return argv[place], [*argv[:place], *argv[place + 1 :]]


def find_command(name: str | None) -> Command:
    """Return a command by its name; None is the overview.

    Raises:
        UsageError: there is no such command.
    """
    if name is None:
        return CATALOGUE.overview
    if name in CATALOGUE.by_name:
        return CATALOGUE.by_name[name]
    meant = nearest(name, CATALOGUE.by_name)
    raise UsageError(
        f"there is no command {name!r}" + (f"; did you mean {meant!r}?" if meant else ""),
        hint=f"{PROGRAM} {meant} --help" if meant else f"{PROGRAM} --help",
    )


def parse(command: Command, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a command.

    Raises:
        UsageError: they are wrong.
        HelpRequested: they ask for help.
    """
    if not command.name and any(arg in _HELP for arg in arguments):
        raise HelpRequested(overview_help())
    parsed, unknown = parser_of(command).parse_known_intermixed_args(arguments)
    if unknown:
        raise _unknown_argument(command, unknown[0])
    return parsed


def _unknown_argument(command: Command, word: str) -> UsageError:
    prog = f"{PROGRAM} {command.name}".strip()
    if not word.startswith("-"):
        return UsageError(f"one argument too many: {word!r}", hint=f"{prog} --help")
    meant = nearest(word.partition("=")[0], command.option_names)
    told = f"{prog} has no option {word!r}" + (f"; did you mean {meant!r}?" if meant else "")
    return UsageError(told, hint=f"{prog} --help")


def parser_of(command: Command) -> argparse.ArgumentParser:
    """Build the parser of one command."""
    parser = _Parser(
        prog=f"{PROGRAM} {command.name}".strip(),
        description=command.help[:1].upper() + command.help[1:] + ".\n\n" + textwrap.fill(command.description, _WIDTH)
        if command.description
        else command.help[:1].upper() + command.help[1:] + ".",
        epilog=epilog_of(command),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=_WIDTH),
        allow_abbrev=False,
    )
    add_arguments(parser, command)
    return parser


def add_arguments(
    parser: argparse.ArgumentParser, command: Command, completions: Mapping[str, Any] | None = None
) -> None:
    """Add a command's arguments and the common ones to a parser.

    Args:
        parser: receives them.
        command: whose arguments.
        completions: what the completion generator calls a "file" and a "directory".
    """
    common = parser.add_argument_group("options of every command")
    for group, arguments in ((parser, command.arguments), (common, COMMON)):
        for arg in arguments:
            action = group.add_argument(*arg.flags, **arg.options)
            if completions and arg.completes:
                action.complete = completions[arg.completes]  # type: ignore[attr-defined]


def epilog_of(command: Command) -> str:
    """Return examples, exit codes and related commands as they stand under a command's help."""
    blocks = []
    if command.examples:
        blocks.append("examples:\n" + "\n".join(f"  {line}\n      {words}" for line, words in command.examples))
    codes = [f"  {int(code):3}  {EXIT_CODE_MEANINGS[code]}" for code in command.all_exit_codes]
    blocks.append("exit codes:\n" + "\n".join(codes))
    if command.see_also:
        blocks.append("see also: " + ", ".join(f"{PROGRAM} {name}" for name in command.see_also))
    return "\n\n".join(blocks)


def overview_help() -> str:
    """Return the help of the program itself."""
    lines = [
        "usage: ckptsync [COMMAND] [options]",
        "",
        "One endless training run out of many sessions that end: launch a session, fetch what it made,",
        "verify it without executing it, restore it, and let the next session resume there.",
        "Without a command: where things stand, and the next sensible command.",
    ]
    for heading, commands in CATALOGUE.groups.items():
        lines += ["", f"{heading}:", *(f"  {command.name:12}{command.help}" for command in commands)]
    lines += ["", "Options of every command:"]
    for arg in COMMON:
        name = ", ".join(arg.flags) + (f" {arg.options['metavar']}" if "metavar" in arg.options else "")
        lines += textwrap.wrap(f"  {name:20}{arg.options['help']}", _WIDTH, subsequent_indent=" " * 22)
    lines += [f"  {'-h, --help':20}this text, or the help of a command", f"  {'--version':20}the version"]
    lines += [
        "",
        "First steps:",
        "  ckptsync init            make a project in this folder",
        "  ckptsync launch --quick  train a short session and bring it home",
        "",
        "Exit codes are listed under 'ckptsync COMMAND --help'; an unknown code is a failure.",
        "",
    ]
    return "\n".join(lines)


def full_parser(completions: Mapping[str, Any]) -> argparse.ArgumentParser:
    """Build one parser with all commands, for the completion scripts."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=CATALOGUE.overview.help)
    parser.add_argument("--version", action="store_true", help="the version")
    add_arguments(parser, CATALOGUE.overview, completions)
    subparsers = parser.add_subparsers()
    for command in CATALOGUE.commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        add_arguments(subparser, command, completions)
    return parser
