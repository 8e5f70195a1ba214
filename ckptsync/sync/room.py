"""How much room a run's checkpoints will need: told before a launch, and by doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core import fsio, heads
from ..core.forecast import Fit, Forecast, SetSize, forecast
from ..core.manifest import Manifest
from ..core.policy import Retained
from ..core.session import SavePolicy
from ..core.sets import StoredSet
from ..core.units import size_text
from ..project.config import Project, RunConfig
from .treework import sealed


@dataclass(frozen=True)
class ScenarioRoom:
    """What the checkpoints of one scenario will need in the training tree until its target.

    Args:
        scenario: its name.
        set_bytes: of its newest set, without what sets share; None: there is none yet, so nothing is known.
        ahead: what is to come; None: nothing is known.
        notes: what people should know.
    """

    scenario: str
    set_bytes: int | None = None
    ahead: Forecast | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, as it stands in a launch plan."""
        ahead = self.ahead
        return {
            "scenario": self.scenario,
            "set_bytes": self.set_bytes,
            "least_bytes": ahead.least_bytes if ahead else None,
            "most_bytes": ahead.most_bytes if ahead else None,
            "free_bytes": ahead.free_bytes if ahead else None,
            "fit": ahead.fit.value if ahead else None,
        }


def rooms(
    project: Project, run: RunConfig, policy: SavePolicy, stored: Sequence[StoredSet], *, fresh: bool = False
) -> tuple[ScenarioRoom, ...]:
    """Look ahead for every scenario of a run.

    Args:
        project: the project.
        run: the run.
        policy: what is kept.
        stored: what lies in its training tree.
        fresh: it begins from zero, so that no set counts that is there.
    """
    return tuple(
        _room(project, run, policy, stored, scenario.name, scenario.total_timesteps, fresh=fresh)
        for scenario in run.scenarios
    )


def _room(
    project: Project,
    run: RunConfig,
    policy: SavePolicy,
    stored: Sequence[StoredSet],
    scenario: str,
    target: int,
    *,
    fresh: bool,
) -> ScenarioRoom:
    tree = project.tree(run)
    candidates = heads.standing(tree, list(stored), scenario).candidates
    newest = next((s.manifest for s in candidates if s.manifest is not None), None)
    if newest is None:
        return ScenarioRoom(scenario)
    size = SetSize.of(newest, end_steps=target)
    here = sealed(stored, scenario).values()
    lineage = [s.manifest for s in here if s.manifest is not None and s.manifest.lineage == newest.lineage]
    ahead = forecast(
        size,
        policy,
        [] if fresh else [Retained.of(manifest) for manifest in lineage],
        num_timesteps=0 if fresh else newest.num_timesteps,
        end_steps=target,
        free_bytes=fsio.free_bytes(tree.checkpoints),
        exported_bytes=sum(path.stat().st_size for path in tree.exports(scenario) if path.is_file()),
    )
    notes = [] if ahead.fit is Fit.ENOUGH else [f"{ahead.said(scenario, tree.root)}: {ahead.advice(policy)}"]
    if run.max_output_bytes is not None:
        notes += _output_notes(size, policy, None if fresh else newest, scenario, target, run.max_output_bytes)
    return ScenarioRoom(scenario, size.own_bytes, ahead, tuple(notes))


def _output_notes(
    size: SetSize, policy: SavePolicy, newest: Manifest | None, scenario: str, target: int, max_output_bytes: int
) -> list[str]:
    """Say where a session that starts from the newest set alone may come to its limit of output."""
    brought = [Retained.of(newest)] if newest is not None else []
    carried = sum(s.size_bytes for s in brought) + (size.shared_bytes if newest is not None else 0)
    ahead = forecast(
        size,
        policy,
        brought,
        num_timesteps=newest.num_timesteps if newest is not None else 0,
        end_steps=target,
        free_bytes=max(0, max_output_bytes - carried),
    )
    place = f"the session's working folder, which may hold {size_text(max_output_bytes)}"
    advice = ahead.advice(policy, more_room="raise max_output")
    return [] if ahead.fit is Fit.ENOUGH else [f"{ahead.said(scenario, place)}: {advice}"]
