"""Commands that bring home what sessions made."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from .parts import DRY_RUN, JUDGED, run_name, session_name

BRING_HOME = (
    Command(
        name="fetch",
        help="download what a session left",
        group="Bring home",
        run="session_commands:fetch",
        schema="ckptsync.fetch/1",
        description=(
            "Files that are there already are skipped, broken downloads are taken up where they stopped. What the "
            "session's own seals name has to come, whatever the service lists. With --only the session does not count "
            "as fetched."
        ),
        examples=(
            ("ckptsync fetch", "of the newest session"),
            ("ckptsync fetch cartpole_ppo/s0003", "of this one"),
            ("ckptsync fetch --only logs --only metrics", "without the checkpoints"),
            ("ckptsync fetch --only '*_9000_steps.zip'", "one checkpoint, with its seal and all that this names"),
        ),
        arguments=(
            session_name(),
            argument(
                "--only",
                action="append",
                default=[],
                metavar="WHAT",
                help="checkpoints, logs, metrics, or a pattern for names (for paths where it holds a /); may be given "
                "several times",
            ),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.CORRUPT, ExitCode.NOTHING_FOUND, ExitCode.LOCKED),
        see_also=("verify", "restore"),
    ),
    Command(
        name="verify",
        help="judge checkpoints without executing them",
        group="Bring home",
        run="files_commands:verify",
        schema="ckptsync.verify/1",
        description=(
            "Reads every byte of a file, a set, a training tree or a session's outputs; loads nothing, needs no torch, "
            "works outside a project too. A path that exists counts before a run of the same name."
        ),
        examples=(
            ("ckptsync verify", "the training tree of the only run"),
            ("ckptsync verify model.zip", "any file"),
            ("ckptsync verify new.zip --against old.zip", "would it fit where the other one does?"),
            ("ckptsync verify cartpole_ppo/s0003", "what a session left"),
        ),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN|SESSION", completes="file", help="what to judge"),
            argument("--against", metavar="PATH", completes="file", help="a checkpoint that it must fit"),
            argument("--newest", action="store_true", help="only the newest checkpoint of each scenario"),
        ),
        exit_codes=JUDGED,
        see_also=("show", "diff", "restore"),
        lists_checkpoints=True,
    ),
    Command(
        name="restore",
        help="put a session's good checkpoints into the training tree",
        group="Bring home",
        run="session_commands:restore",
        schema="ckptsync.restore/1",
        description=(
            "Adds the sets, then moves the head: whole or not at all. What is refused goes to the quarantine with the "
            "reason, what gives way goes to the attic. A set of the tree that is damaged is replaced by the session's "
            "sound copy. Never goes behind something newer unless --session names it. In an empty clone of a project "
            "with a store it brings what the store has."
        ),
        examples=(
            ("ckptsync restore --dry-run", "the plan"),
            ("ckptsync restore --session cartpole_ppo/s0002", "from an older session, on purpose"),
            ("ckptsync restore --undo", "put back what the last restore changed"),
        ),
        arguments=(
            run_name(),
            argument("--session", metavar="SESSION", help="from this session; without it the newest fetched one"),
            argument("--undo", action="store_true", help="take the last restore back"),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.PARTIAL, *JUDGED, ExitCode.LOCKED),
        see_also=("verify", "ls"),
    ),
)
