"""Checkpoints on disk: write, copy, remove, scan, sweep and check sealed sets.

Sets are immutable, so nothing is ever replaced in place:

    write   <stem>.pending (names the members) -> members, segments -> <stem>.manifest.json -> remove .pending
    remove  rename the manifest to <stem>.deleting -> members -> .deleting -> segments that no manifest names

The manifest is the commit. A stem with an intent file and no manifest is torn: never a candidate, and
swept under the tree's lock. A file without manifest and intent is unsealed: plain SB3 output, usable,
and never removed by a sweep. Whoever changes a folder holds the lock of its tree.
"""

from __future__ import annotations

from .moving import (
    attic_folder,
    copy_set,
    digest_of_files,
    give_second_name,
    heal_set,
    move_set,
    remove_set,
    segments_of,
    set_aside,
    unseal,
)
from .stored import (
    Hashed,
    SetState,
    StoredSet,
    check_file,
    check_files,
    find,
    members,
    newest,
    parse_manifest,
    read_manifest,
    scan,
)
from .writing import SetWriter, seal_in_place, sweep

__all__ = [
    "Hashed",
    "SetState",
    "SetWriter",
    "StoredSet",
    "attic_folder",
    "check_file",
    "check_files",
    "copy_set",
    "digest_of_files",
    "find",
    "give_second_name",
    "heal_set",
    "members",
    "move_set",
    "newest",
    "parse_manifest",
    "read_manifest",
    "remove_set",
    "scan",
    "seal_in_place",
    "segments_of",
    "set_aside",
    "sweep",
    "unseal",
]
