"""Commands over the versions in a store."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import positive
from .parts import DRY_RUN, RUN, SCENARIO, VERSION_HELP, run_name
from .store import CODES, STORE_URL

VERSIONS = (
    Command(
        name="tag",
        help="give a checkpoint in the store a name",
        group="Store",
        run="version_commands:tag",
        schema="ckptsync.tag/1",
        description="A checkpoint that has a name is kept by prune, and the other commands find it by that name.",
        examples=(
            ("ckptsync tag good", "the head"),
            ("ckptsync tag paper 200000", "the one at 200,000 steps"),
            ("ckptsync tag paper best --move", "another one from now on"),
            ("ckptsync tag paper --remove", "the checkpoint itself stays"),
        ),
        arguments=(
            argument("name", metavar="NAME", help="the name"),
            argument("version", nargs="?", metavar="VERSION", help=f"{VERSION_HELP}; without it the head"),
            argument("--move", action="store_true", help="take the name away from the checkpoint that has it"),
            argument("--remove", action="store_true", help="take the name away"),
            RUN,
            SCENARIO,
            STORE_URL,
            DRY_RUN,
        ),
        exit_codes=CODES,
        see_also=("ls", "rollback", "prune"),
    ),
    Command(
        name="rollback",
        help="let the next session start from an earlier checkpoint of the store",
        group="Store",
        run="version_commands:rollback",
        schema="ckptsync.rollback/1",
        description=(
            "Moves the store's head. Nothing is erased, so a rollback is taken back by another one. Where the training "
            "tree has the checkpoint its head moves too, and what is newer goes to the attic; else pull brings it. A "
            "session that still runs does not undo a rollback."
        ),
        examples=(
            ("ckptsync rollback 200000", "to the one at 200,000 steps"),
            ("ckptsync rollback best --dry-run", "what would be done"),
        ),
        arguments=(argument("version", metavar="VERSION", help=VERSION_HELP), RUN, SCENARIO, STORE_URL, DRY_RUN),
        exit_codes=CODES,
        see_also=("ls", "tag", "pull", "restore"),
    ),
    Command(
        name="prune",
        help="remove from the store what nobody needs any more",
        group="Store",
        run="version_commands:prune",
        schema="ckptsync.prune/1",
        description=(
            "Keeps of each scenario the newest, the best, those of every so many steps, final ones, what the head and tags "
            "name, and what a rollback left until training has passed it. What is not given is taken from the run's "
            "keep_last, keep_best and keep_every_steps. Bytes that other checkpoints need too stay. While somebody pushes "
            "nothing is removed."
        ),
        examples=(
            ("ckptsync prune --dry-run", "what would go, and why the rest stays"),
            ("ckptsync prune --keep-last 20 --keep-every 1_000_000", "other rules than those of the run"),
        ),
        arguments=(
            run_name(),
            argument("--keep-last", type=positive, metavar="COUNT", help="so many of the newest stay"),
            argument("--keep-best", type=positive, metavar="COUNT", help="so many of the highest mean reward stay"),
            argument("--keep-every", type=positive, metavar="STEPS", help="the first at or after each multiple stays"),
            STORE_URL,
            DRY_RUN,
        ),
        exit_codes=(ExitCode.CORRUPT, *CODES),
        see_also=("tag", "ls", "scrub", "clean"),
    ),
    Command(
        name="copy",
        help="copy a run's checkpoints from its store into another one",
        group="Store",
        run="version_commands:copy",
        schema="ckptsync.copy/1",
        description=(
            "Sends what the other store lacks, the oldest first, every object compared with its name; then heads and tags. "
            "A copy that was cut short goes on when it is run again."
        ),
        examples=(
            ("ckptsync copy ../nas/checkpoints", "of the only run, to a folder that init-store made ready"),
            ("ckptsync copy s3://far/prefix --dry-run", "what would be copied"),
        ),
        arguments=(argument("url", metavar="URL", help="the store to copy to"), run_name(), STORE_URL, DRY_RUN),
        exit_codes=(ExitCode.CORRUPT, *CODES),
        see_also=("init-store", "push", "repair"),
    ),
    Command(
        name="repair",
        help="put back what is damaged in the store",
        group="Store",
        run="version_commands:repair",
        schema="ckptsync.repair/1",
        description=(
            "Reads every byte as scrub does. What is damaged or missing is taken from another store, or put together from "
            "checkpoints in training trees, attic and results; each is compared with its name before it is written. Exit "
            "4: something is still damaged."
        ),
        examples=(
            ("ckptsync repair --dry-run", "what could be put back from files that are here"),
            ("ckptsync repair --from ../nas/checkpoints", "also from a store that copy went to"),
        ),
        arguments=(argument("--from", dest="other", metavar="URL", help="a store with copies"), STORE_URL, DRY_RUN),
        exit_codes=(ExitCode.CORRUPT, *CODES),
        see_also=("scrub", "copy"),
    ),
)
