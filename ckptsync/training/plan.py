"""What a session does: from its specification, or from the words of a script that runs outside any session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.layout import TrainingTree
from ..core.session import SavePolicy, ScenarioSpec, SessionSpec

_LOCAL_MARGIN_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """What this session does; see `SessionSpec` for what the fields mean."""

    tree: TrainingTree
    scenarios: tuple[ScenarioSpec, ...]
    policy: SavePolicy
    budget_seconds: float | None = None
    margin_seconds: float = _LOCAL_MARGIN_SECONDS
    max_steps: int | None = None
    max_output_bytes: int | None = None
    seed: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    spec: SessionSpec | None = None

    @classmethod
    def of(cls, spec: SessionSpec) -> Plan:
        """Return the plan of a session that a runner has started."""
        return cls(
            tree=TrainingTree(Path(spec.tree)),
            scenarios=spec.scenarios,
            policy=spec.save,
            budget_seconds=spec.budget_seconds,
            margin_seconds=spec.margin_seconds,
            max_steps=spec.max_steps,
            max_output_bytes=spec.max_output_bytes,
            seed=spec.seed,
            params=spec.params,
            quick=spec.quick,
            spec=spec,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what this session does, for people."""
        return {
            "tree": str(self.tree.root),
            "scenarios": [asdict(scenario) for scenario in self.scenarios],
            "save": asdict(self.policy),
            "budget_seconds": self.budget_seconds,
            "margin_seconds": self.margin_seconds,
            "max_steps": self.max_steps,
            "max_output_bytes": self.max_output_bytes,
            "seed": self.seed,
            "params": dict(self.params),
            "quick": self.quick,
        }
