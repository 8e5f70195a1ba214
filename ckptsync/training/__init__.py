"""The training side: what a kernel script uses. Importing it loads no torch, no numpy and no SB3.

The public names are resolved on use, for `boot` and the script's own start need little of what is here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scenario import Outcome, Scenario
    from .session import TrainingSession

_PLACES = {"Outcome": "scenario", "Scenario": "scenario", "TrainingSession": "session"}

__all__ = ["Outcome", "Scenario", "TrainingSession"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
