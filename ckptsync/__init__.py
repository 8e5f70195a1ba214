"""ckptsync: one endless training run out of many sessions that end."""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]
