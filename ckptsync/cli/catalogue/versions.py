"""Commands over the versions in a store."""

from __future__ import annotations

from ..command import Command, argument
from .parts import DRY_RUN
from .store import CODES, STORE_URL

RUN = argument("--run", metavar="RUN", help="the run; may be left out where there is one")
SCENARIO = argument("--scenario", metavar="NAME", help="only this scenario")
_VERSION = "head, best, a tag, steps, or the first digits of a digest"

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
            argument("version", nargs="?", metavar="VERSION", help=f"{_VERSION}; without it the head"),
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
        arguments=(argument("version", metavar="VERSION", help=_VERSION), RUN, SCENARIO, STORE_URL, DRY_RUN),
        exit_codes=CODES,
        see_also=("ls", "tag", "pull", "restore"),
    ),
)
