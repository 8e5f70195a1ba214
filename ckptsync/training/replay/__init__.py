"""Replay buffers: what of them is stored, how, and how it comes back."""

from __future__ import annotations

from .log import ReplayLog, ReplayMembers, ReplayPoint
from .reading import read_replay
from .segments import NewSegment

__all__ = ["NewSegment", "ReplayLog", "ReplayMembers", "ReplayPoint", "read_replay"]
