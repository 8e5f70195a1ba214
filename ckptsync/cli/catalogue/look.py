"""Commands that look at checkpoints."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from .parts import JUDGED

LOOK = (
    Command(
        name="ls",
        help="list checkpoints",
        group="Look",
        run="files_commands:ls",
        schema="ckptsync.ls/1",
        description="Reads seals only, so it is fast; a verdict is shown where a full check still holds.",
        examples=(("ckptsync ls", "of the only run"), ("ckptsync ls data/models", "of any folder")),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN", completes="directory", help="a run, or a folder"),
        ),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("show", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="show",
        help="everything about one checkpoint",
        group="Look",
        run="files_commands:show",
        schema="ckptsync.show/1",
        examples=(("ckptsync show model.zip", "what it holds"), ("ckptsync show model.zip --all", "every parameter")),
        arguments=(
            argument("target", metavar="PATH", completes="file", help="a checkpoint"),
            argument("--against", metavar="PATH", completes="file", help="a checkpoint that it must fit"),
            argument("--all", action="store_true", help="every parameter, however many"),
        ),
        exit_codes=JUDGED,
        see_also=("diff", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="diff",
        help="how two checkpoints differ in architecture",
        group="Look",
        run="files_commands:diff",
        schema="ckptsync.diff/1",
        description="Lines with - are of the first, lines with + of the second.",
        examples=(("ckptsync diff old.zip new.zip", "exit 0 when one fits where the other does, else 5"),),
        arguments=(
            argument("left", metavar="A", completes="file", help="a checkpoint"),
            argument("right", metavar="B", completes="file", help="another one"),
        ),
        exit_codes=JUDGED,
        see_also=("show", "verify"),
    ),
)
