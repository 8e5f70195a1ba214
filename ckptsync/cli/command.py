"""What a command is: a description that help, parser, completion and the reference are made from."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from ..core.errors import ExitCode

if TYPE_CHECKING:
    from .output import Answer, Output

Completes = Literal["file", "directory"]
RunFunction = Callable[[Namespace, "Output"], "Answer"]


@dataclass(frozen=True)
class Argument:
    """One option or positional argument.

    Args:
        flags: its names as typed, or one name without dashes for a positional argument.
        options: what argparse is told besides: help, type, default, nargs, choices, metavar, action.
        completes: what a shell offers for its value.
    """

    flags: tuple[str, ...]
    options: Mapping[str, Any]
    completes: Completes | None = None

    @property
    def positional(self) -> bool:
        """Whether it is known by its place."""
        return not self.flags[0].startswith("-")


def argument(*flags: str, completes: Completes | None = None, **options: Any) -> Argument:
    """Describe an argument with the words of argparse."""
    return Argument(flags, options, completes)


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        name: what is typed.
        help: what it does, in one line.
        group: the heading that it stands under.
        run: `module:function` below `ckptsync.cli`, loaded on use.
        schema: of its JSON object.
        description: what to know before using it.
        examples: (command line, what it does).
        arguments: its own options and arguments.
        exit_codes: what it may exit with, besides those of every command.
        see_also: names of related commands.
        lists_checkpoints: its JSON object has target, verdict, findings and checkpoints, also on errors.
    """

    name: str
    help: str
    group: str
    run: str
    schema: str
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    arguments: tuple[Argument, ...] = ()
    exit_codes: tuple[ExitCode, ...] = ()
    see_also: tuple[str, ...] = ()
    lists_checkpoints: bool = False

    def load(self) -> RunFunction:
        """Import the function behind the command."""
        module, _, function = self.run.partition(":")
        return cast(RunFunction, getattr(importlib.import_module(f"{__package__}.{module}"), function))

    @property
    def all_exit_codes(self) -> tuple[ExitCode, ...]:
        """Everything that it may exit with, in order."""
        return tuple(sorted({*_ALWAYS, *self.exit_codes}))

    @property
    def option_names(self) -> tuple[str, ...]:
        """Every option that it knows, the common ones included."""
        return tuple(flag for arg in (*self.arguments, *COMMON) if not arg.positional for flag in arg.flags)

    def error_value(self, target: str | None, exit_code: int, error: Mapping[str, Any]) -> dict[str, Any]:
        """Return its JSON object for a failure."""
        listing: dict[str, Any] = {"target": target, "verdict": None, "findings": [], "checkpoints": []}
        return {
            "schema": self.schema,
            **(listing if self.lists_checkpoints else {}),
            "exit_code": exit_code,
            "error": dict(error),
        }


_ALWAYS = (ExitCode.OK, ExitCode.ERROR, ExitCode.USAGE, ExitCode.CONFIG, ExitCode.INTERRUPTED, ExitCode.TERMINATED)

COMMON = (
    argument("--json", dest="as_json", action="store_true", help="print one JSON object instead of text"),
    argument("-q", "--quiet", action="store_true", help="no progress and no logs; warnings and errors stay"),
    argument("--debug", action="store_true", help="show the traceback of an error"),
    argument(
        "-C",
        "--project",
        metavar="DIR",
        completes="directory",
        help="the project's folder; without it the current one or the nearest above with a ckptsync.toml",
    ),
)


@dataclass(frozen=True)
class Catalogue:
    """All commands, in the order of the help.

    Args:
        overview: what runs without a command's name.
        commands: the commands.
    """

    overview: Command
    commands: tuple[Command, ...]
    by_name: Mapping[str, Command] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {command.name: command for command in self.commands})

    @property
    def groups(self) -> Mapping[str, list[Command]]:
        """Heading -> its commands."""
        groups: dict[str, list[Command]] = {}
        for command in self.commands:
            groups.setdefault(command.group, []).append(command)
        return groups
