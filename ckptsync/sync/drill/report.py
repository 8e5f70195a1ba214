"""The report of a drill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .faults import Fault, exit_code
from .figures import Measured, Projected
from .observed import Observed

DRILL_SCHEMA = "ckptsync.drill/1"


@dataclass(frozen=True)
class DrillReport:
    """How a drill ended.

    Args:
        run: the run.
        runner: where its sessions ran.
        first: the session that began from zero and was stopped; None in a dry run.
        second: the one that went on; None where it did not come to that.
        measured: what was measured.
        projected: what that means for the run.
        faults: what is wrong, worst first.
        folder: the throw-away project, where it was kept.
        steps: transitions of a session.
        limit_seconds: after which a session is killed.
    """

    run: str
    runner: str
    first: Observed | None
    second: Observed | None
    measured: Measured
    projected: Projected | None
    faults: tuple[Fault, ...]
    folder: Path | None
    steps: int
    limit_seconds: float

    @property
    def exit_code(self) -> int:
        """0 all good, 3 works with warnings, 7 does not work."""
        return int(exit_code(self.faults))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": DRILL_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "runner": self.runner,
            "steps": self.steps,
            "limit_seconds": self.limit_seconds,
            "sessions": [_session(seen) for seen in (self.first, self.second) if seen is not None],
            "measured": self.measured.to_json(),
            "projected": self.projected.to_json() if self.projected is not None else None,
            "faults": [fault.to_json() for fault in self.faults],
            "folder": str(self.folder) if self.folder is not None else None,
        }


def _session(seen: Observed) -> dict[str, Any]:
    return {
        "session": seen.spec.session,
        "state": seen.status.state.value,
        "exit_code": seen.status.exit_code,
        "seconds": seen.status.seconds,
        "interrupted": seen.interrupted,
        "error": seen.error,
        "scenarios": {
            name: {
                "started_at": begun.num_timesteps,
                "ended_at": seen.reached.get(name),
                "resumed": begun.resumed,
                "reasons": list(begun.reasons),
                "checkpoints": sum(save.scenario == name for save in seen.saves),
            }
            for name, begun in seen.begun.items()
        },
    }
