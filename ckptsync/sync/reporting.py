"""How a verb says what it is doing; the command line shows it, tests read it, `NullReporter` drops it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol


class Meter(Protocol):
    """How far something has come."""

    def advance(self, amount: int) -> None:
        """Go on by an amount."""
        ...

    def set(self, position: int) -> None:
        """Go to a position, counted from the start."""
        ...

    def expect(self, total: int) -> None:
        """Tell where it ends, where that was not known when it began."""
        ...

    def note(self, text: str) -> None:
        """Show this beside it from now on, in place of a guess at the time that is left; may hold foreign text."""
        ...


class Reporter(Protocol):
    """Receives lines for people and progress; results are what verbs return."""

    def line(self, text: str) -> None:
        """Say what is going on; may hold foreign text, control characters included."""
        ...

    def warn(self, text: str) -> None:
        """Say what people should look at."""
        ...

    def progress(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Meter]:
        """Show how far something is, in bytes (`B`) or `steps`."""
        ...


class _NoMeter:
    def advance(self, amount: int) -> None:
        """Nobody looks."""

    def set(self, position: int) -> None:
        """Nobody looks."""

    def expect(self, total: int) -> None:
        """Nobody looks."""

    def note(self, text: str) -> None:
        """Nobody looks."""


class NullReporter:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Drop it."""

    def warn(self, text: str) -> None:
        """Drop it."""

    def progress(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Meter]:
        """Show nothing."""
        return nullcontext(_NoMeter())


def shown_path(path: Path) -> Path:
    """Return a path as people type it: relative where it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


NULL_REPORTER = NullReporter()
