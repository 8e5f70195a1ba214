"""How much an account may run: sessions at once, and hours of accelerators in a week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from .runs import Run
from .world import Json, World, stamp

_SATURDAY = 5


class Quota:
    """Counts what runs have used, in the service's time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def refusal(self, runs: Sequence[Run], accelerator: str) -> str | None:
        """Return why an account may not start another run, in Kaggle's words; None: it may."""
        settings = self._world.settings
        if accelerator:
            allowed = self._allowed(accelerator)
            if self._used(runs, accelerator) + self._reserved(runs, accelerator) >= allowed:
                return f"Maximum weekly {accelerator.upper()} quota of {allowed / 3600:.2f} hours reached."
        count = sum(run.occupies and run.accelerator == accelerator for run in runs)
        limit = settings.gpu_sessions if accelerator else settings.cpu_sessions
        if count >= limit:
            return f"Maximum batch {(accelerator or 'cpu').upper()} session count of {limit} reached."
        return None

    def statistics(self, runs: Sequence[Run]) -> Json:
        """Answer GetAcceleratorQuotaStatistics."""
        return {
            "quotaRefreshTime": self._world.settings.quota_renews_at or self._next_saturday(),
            **{f"{kind}Quota": self._of(runs, kind) for kind in ("gpu", "tpu")},
        }

    def _of(self, runs: Sequence[Run], kind: str) -> Json:
        return {
            "timeUsed": f"{int(self._used(runs, kind))}s",
            "timeReserved": f"{int(self._reserved(runs, kind))}s",
            "totalTimeAllowed": f"{int(self._allowed(kind))}s",
            "hasEverRun": any(run.accelerator == kind for run in runs),
        }

    def _allowed(self, kind: str) -> float:
        settings = self._world.settings
        return 3600 * (settings.gpu_hours if kind == "gpu" else settings.tpu_hours)

    def _used(self, runs: Sequence[Run], kind: str) -> float:
        before = 3600 * self._world.settings.gpu_hours_used if kind == "gpu" else 0.0
        return before + sum(run.busy_seconds for run in runs if run.accelerator == kind and run.status[0].last)

    def _reserved(self, runs: Sequence[Run], kind: str) -> float:
        return sum(run.busy_seconds for run in runs if run.accelerator == kind and not run.status[0].last)

    def _next_saturday(self) -> str:
        midnight = self._world.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return stamp(midnight + timedelta(days=(_SATURDAY - midnight.weekday() - 1) % 7 + 1))
