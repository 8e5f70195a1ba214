"""Checkpoints in a store: push and pull sealed sets, list and name versions, remove what is not needed, find damage."""

from __future__ import annotations

from .ahead import Line
from .copying import Copier, copying, read_object
from .keys import VersionKey
from .pulling import Pulled, pull_set
from .pushing import Pushed, Pusher, push_set, pushing
from .refs import (
    ROLLBACK,
    StoreHead,
    Tag,
    has_tag,
    leads,
    list_heads,
    list_tags,
    move_head,
    read_head,
    read_tag,
    remove_tag,
    set_head_anew,
    set_tag,
)
from .removing import Remover, removing
from .repository import Repository, create_repository, open_repository, probe_writing
from .scrubbing import Damage, scrub
from .versions import Version

__all__ = [
    "ROLLBACK",
    "Copier",
    "Damage",
    "Line",
    "Pulled",
    "Pushed",
    "Pusher",
    "Remover",
    "Repository",
    "StoreHead",
    "Tag",
    "Version",
    "VersionKey",
    "copying",
    "create_repository",
    "has_tag",
    "leads",
    "list_heads",
    "list_tags",
    "move_head",
    "open_repository",
    "probe_writing",
    "pull_set",
    "push_set",
    "pushing",
    "read_head",
    "read_object",
    "read_tag",
    "remove_tag",
    "removing",
    "scrub",
    "set_head_anew",
    "set_tag",
]
