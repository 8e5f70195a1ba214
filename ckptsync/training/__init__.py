"""The training side: what a kernel script uses. Importing it loads no torch, no numpy and no SB3."""

from __future__ import annotations

from .scenario import Outcome, Scenario
from .session import TrainingSession

__all__ = ["Outcome", "Scenario", "TrainingSession"]
