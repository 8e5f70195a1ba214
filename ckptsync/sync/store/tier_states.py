"""What was last seen of a project's stores: kept in a file for each, so that `status` and `ls` need no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core import fields, fsio, jsonio
from ...core.clock import now
from ...core.errors import NothingFoundError
from ...project.config import Project, RunConfig
from ...project.tiers import Tier
from ...store.repository.keys import VersionKey

SCHEMA = "ckptsync.tier/1"
_MAX_STATE_BYTES = 16 << 20


@dataclass(frozen=True)
class TierState:
    """What was last seen of a store.

    Args:
        tier: its name, NEAR or FAR.
        url: where it is.
        checked_at: when that was tried.
        reached_at: when it last answered as it should; None: never.
        heads: scenario -> N of what its head names.
        holds: digests of the checkpoints that it has, as far as they are in the training tree or in the near store.
        waiting: how many checkpoints it should have and has not.
        sent_bytes: what was sent now.
        removed: how many versions its retention removed now.
        error: why it does not have all of them, or None.
    """

    tier: str
    url: str
    checked_at: str
    reached_at: str | None = None
    heads: Mapping[str, int] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()
    waiting: int = 0
    sent_bytes: int = 0
    removed: int = 0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the state as it stands in JSON output."""
        return {
            "tier": self.tier,
            "store": self.url,
            "checked_at": self.checked_at,
            "reached_at": self.reached_at,
            "heads": dict(self.heads),
            "waiting": self.waiting,
            "sent_bytes": self.sent_bytes,
            "removed": self.removed,
            "error": self.error,
        }


def last_seen(project: Project, run: RunConfig, tier: Tier) -> TierState:
    """Return what was last seen of a store, as the ground of what is seen of it now."""
    known = known_state(project, run, tier) or TierState(tier.name, tier.url, "")
    return replace(known, checked_at=now())


def note_pulled(project: Project, run: RunConfig, versions: Iterable[VersionKey]) -> None:
    """Remember that the near store has these versions, which its heads name: they came from there a moment ago."""
    if project.stores is None:
        return
    state = last_seen(project, run, project.stores.near)
    holds, heads = set(state.holds), dict(state.heads)
    for version in versions:
        holds.add(version.digest)
        heads[version.scenario] = version.num_timesteps
    keep(project, run, replace(state, reached_at=state.checked_at, heads=heads, holds=frozenset(holds), error=None))


def known_states(project: Project, run: RunConfig) -> tuple[TierState, ...]:
    """Return what was last seen of the stores of a project, without asking them."""
    tiers = project.stores.tiers if project.stores is not None else ()
    return tuple(known_state(project, run, tier) or TierState(tier.name, tier.url, "") for tier in tiers)


def known_state(project: Project, run: RunConfig, tier: Tier) -> TierState | None:
    """Return what was last seen of a store; None where nothing is known of it."""
    try:
        value = jsonio.parse(fsio.read_bytes(_path(project, run, tier.name), limit=_MAX_STATE_BYTES))
        if value["schema"] != SCHEMA or value["url"] != tier.url:
            return None
        return TierState(
            tier.name,
            tier.url,
            fields.text(value, "checked_at"),
            value["reached_at"],
            {str(name): int(steps) for name, steps in value["heads"].items()},
            frozenset(map(str, value["holds"])),
            fields.count(value, "waiting"),
            error=value["error"],
        )
    except NothingFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # it is made again by the next trip


def keep(project: Project, run: RunConfig, state: TierState) -> None:
    """Remember what was seen of a store."""
    path = _path(project, run, state.tier)
    value = {
        "schema": SCHEMA,
        "url": state.url,
        "checked_at": state.checked_at,
        "reached_at": state.reached_at,
        "heads": dict(state.heads),
        "holds": sorted(state.holds),
        "waiting": state.waiting,
        "error": state.error,
    }
    fsio.make_folder(path.parent)
    fsio.write_bytes(path, jsonio.canonical(value))


def _path(project: Project, run: RunConfig, tier: str) -> Path:
    return project.layout.tiers / f"{run.name}-{tier}.json"
