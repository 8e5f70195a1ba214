"""Replay buffers: what of them is stored, how, and how it comes back."""

from .whole import ReplayMark, can_write, mark, read_replay, roll_back, write_replay

__all__ = ["ReplayMark", "can_write", "mark", "read_replay", "roll_back", "write_replay"]
