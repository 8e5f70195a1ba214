"""Commands over the store."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import part
from .parts import DRY_RUN, run_name

STORE_URL = argument("--store", metavar="URL", help="another store than that of ckptsync.toml")
CODES = (ExitCode.NOTHING_FOUND, ExitCode.LIMIT, ExitCode.LOCKED, ExitCode.CREDENTIALS, ExitCode.CONFIG)

STORE = (
    Command(
        name="init-store",
        help="make a store ready for checkpoints",
        group="Store",
        run="store_commands:init_store",
        schema="ckptsync.init-store/1",
        description=(
            "A store is a folder, s3://bucket/prefix or any URL that fsspec knows. What else lies there is left alone. "
            "Secrets come from the environment, never from the URL."
        ),
        examples=(
            ("ckptsync init-store", "the store that ckptsync.toml names"),
            ("ckptsync init-store s3://bucket/prefix", "another one"),
        ),
        arguments=(
            argument("url", nargs="?", metavar="URL", help="the store; without it that of ckptsync.toml"),
            DRY_RUN,
        ),
        exit_codes=CODES,
        see_also=("push", "pull"),
    ),
    Command(
        name="push",
        help="send a run's checkpoints to its store",
        group="Store",
        run="store_commands:push",
        schema="ckptsync.push/1",
        description=(
            "Sends the sealed checkpoints that the next session may start from, the oldest first. What the store has "
            "is not sent again, neither are tensors and replay rows that stayed as they were. A push that was cut short "
            "goes on when it is run again."
        ),
        examples=(("ckptsync push", "of the only run"), ("ckptsync push --dry-run", "what would be sent")),
        arguments=(run_name(), STORE_URL, DRY_RUN),
        exit_codes=(ExitCode.CORRUPT, *CODES),
        see_also=("pull", "ls", "init-store"),
    ),
    Command(
        name="pull",
        help="bring a run's newest checkpoint from its store",
        group="Store",
        run="store_commands:pull",
        schema="ckptsync.pull/1",
        description=(
            "Brings what the store's heads name into the training tree, after it was judged as everything that comes "
            "from outside. Where the tree has the same or something newer, nothing is done."
        ),
        examples=(
            ("ckptsync pull", "of the only run"),
            ("ckptsync pull --mine", "on a new machine, from a store that nobody else writes into"),
        ),
        arguments=(
            run_name(),
            STORE_URL,
            argument(
                "--mine",
                action="store_true",
                help="nobody else can write into the store: code in its checkpoints is your own",
            ),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.CORRUPT, ExitCode.INCOMPATIBLE, *CODES),
        see_also=("push", "ls", "restore"),
    ),
    Command(
        name="scrub",
        help="look for damage in the store",
        group="Store",
        run="store_commands:scrub",
        schema="ckptsync.scrub/1",
        description=(
            "Reads every byte that the store holds and compares it with what it should be. Changes nothing there. What was "
            "cut short goes on where it was when it is run again."
        ),
        examples=(
            ("ckptsync scrub", "every byte"),
            ("ckptsync scrub --part 2/7", "a seventh of the objects, another one each day of the week"),
            ("ckptsync scrub --structure", "only whether everything is there, which is fast"),
        ),
        arguments=(
            STORE_URL,
            argument(
                "--part", type=part, default=(1, 1), metavar="K/N", help="only the K-th of N parts of the objects"
            ),
            argument("--structure", action="store_true", help="read no objects, only whether all are there"),
        ),
        exit_codes=(ExitCode.CORRUPT, *CODES),
        see_also=("push", "pull"),
    ),
)
