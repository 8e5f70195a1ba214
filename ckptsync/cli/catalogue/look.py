"""Commands that look at checkpoints."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from .parts import FROM_STORE, JUDGED, RUN, SCENARIO

LOOK = (
    Command(
        name="ls",
        help="list checkpoints",
        group="Look",
        run="files_commands:ls",
        schema="ckptsync.ls/1",
        description="Reads seals only, so it is fast; a verdict is shown where a full check still holds.",
        examples=(
            ("ckptsync ls", "of the only run"),
            ("ckptsync ls data/models", "of any folder"),
            ("ckptsync ls --store", "of the only run, in its store"),
        ),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN", completes="directory", help="a run, or a folder"),
            argument("--store", action="store_true", help="what the run's store holds, by its names alone"),
        ),
        exit_codes=(ExitCode.NOTHING_FOUND, ExitCode.CREDENTIALS, ExitCode.CONFIG),
        see_also=("show", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="show",
        help="everything about one checkpoint",
        group="Look",
        run="files_commands:show",
        schema="ckptsync.show/1",
        examples=(
            ("ckptsync show model.zip", "what it holds"),
            ("ckptsync show model.zip --all", "every parameter"),
            ("ckptsync show best --store", "of the store"),
        ),
        arguments=(
            argument("target", metavar="PATH|VERSION", completes="file", help="a checkpoint"),
            argument("--against", metavar="PATH", completes="file", help="a checkpoint that it must fit"),
            argument("--all", action="store_true", help="every parameter, however many"),
            FROM_STORE,
            RUN,
            SCENARIO,
        ),
        exit_codes=(*JUDGED, ExitCode.CREDENTIALS, ExitCode.CONFIG),
        see_also=("diff", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="diff",
        help="how two checkpoints differ",
        group="Look",
        run="files_commands:diff",
        schema="ckptsync.diff/1",
        description=(
            "In architecture: lines with - are of the first, lines with + of the second. Then the layers whose weights "
            "differ, and of sealed checkpoints metrics, configuration and files."
        ),
        examples=(
            ("ckptsync diff old.zip new.zip", "exit 0 when one fits where the other does, else 5"),
            ("ckptsync diff best head --store", "of the store"),
        ),
        arguments=(
            argument("left", metavar="A", completes="file", help="a checkpoint"),
            argument("right", metavar="B", completes="file", help="another one"),
            FROM_STORE,
            RUN,
            SCENARIO,
        ),
        exit_codes=(*JUDGED, ExitCode.CREDENTIALS, ExitCode.CONFIG),
        see_also=("show", "verify"),
    ),
    Command(
        name="plot",
        help="reward and loss over all sessions of a run",
        group="Look",
        run="plot_commands:plot",
        schema="ckptsync.plot/1",
        description=(
            "Joins what the sessions have recorded into one curve: steps that a killed session trained and lost are cut "
            "off where the next one went on. Dashed lines mark where sessions begin. A session that still runs on this "
            "machine is drawn as far as it is."
        ),
        examples=(
            ("ckptsync plot", "reward and loss of the only run, in the terminal"),
            ("ckptsync plot --output reward.png", "as a picture; needs matplotlib: pip install 'ckptsync[plot]'"),
            ("ckptsync plot --list", "which metrics there are"),
            ("ckptsync plot --metric steps_per_second --metric save_seconds", "others"),
            ("ckptsync plot data/models", "what plain training wrote beside its tree"),
        ),
        arguments=(
            argument(
                "target",
                nargs="?",
                metavar="RUN|SESSION|PATH",
                completes="file",
                help="what to draw; without it the only run",
            ),
            argument(
                "--metric",
                action="append",
                default=[],
                metavar="NAME",
                help="draw this one; may be given several times; without it reward and loss",
            ),
            SCENARIO,
            argument("--output", metavar="FILE", completes="file", help="write a PNG file instead"),
            argument("--list", action="store_true", help="list the metrics instead"),
        ),
        exit_codes=(ExitCode.CORRUPT, ExitCode.NOTHING_FOUND),
        see_also=("status", "logs"),
    ),
)
