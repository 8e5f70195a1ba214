"""Replay buffers: what of them is stored, how, and how it comes back."""

from .log import ReplayLog, ReplayMembers, ReplayPoint
from .reading import read_replay
from .segments import NewSegment
from .whole import ReplayMark, can_write, mark, roll_back, write_replay

__all__ = [
    "NewSegment",
    "ReplayLog",
    "ReplayMark",
    "ReplayMembers",
    "ReplayPoint",
    "can_write",
    "mark",
    "read_replay",
    "roll_back",
    "write_replay",
]
