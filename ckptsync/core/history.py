"""The metric history of a run: the rows of its sessions as one curve, each cut where the next one went on.

A session that was killed has trained beyond its last sealed set. The next session goes on from that set, so the
rows behind it tell of steps that were lost; they are left out. Who goes on from whom is told by `resumed_from`,
not by time and not by the order of files: branches that nobody went on from are no part of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .manifest import Origin
from .metrics import Row, Stretch


@dataclass(frozen=True)
class History:
    """The curve of one scenario.

    Args:
        scenario: the scenario.
        stretches: oldest first; each is cut where the next one begins, so N rises strictly over all of them.
        missing: sessions that belong in between and of which no rows are here.
    """

    scenario: str
    stretches: tuple[Stretch, ...]
    missing: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """Every row, N rising strictly."""
        return [row for stretch in self.stretches for row in stretch.rows]

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics, in order."""
        return sorted({name for row in self.rows for name in row.values})

    @property
    def target(self) -> int | None:
        """What the newest session was to reach, or None."""
        return self.stretches[-1].target

    def points(self, metric: str) -> list[tuple[int, float]]:
        """Return (N, value) wherever a metric was recorded, N rising strictly."""
        return [(row.num_timesteps, row.values[metric]) for row in self.rows if metric in row.values]


def join(
    stretches: Sequence[Stretch], newest: Stretch, *, origins: Mapping[str, Origin | None] | None = None
) -> History:
    """Follow a stretch back to where its lineage began.

    Args:
        stretches: all that is known, in the order of writing.
        newest: the one to begin with; nothing of it is cut.
        origins: session -> what it went on from, for sessions whose rows are gone; those not in it end the search.
    """
    own = [stretch for stretch in stretches if stretch.scenario == newest.scenario]
    kept = [newest]
    missing: list[str] = []
    place, limit, origin = own.index(newest), newest.begun_at, newest.resumed_from
    seen = set[Origin]()
    while origin is not None and origin not in seen:
        seen.add(origin)
        limit = min(limit, origin.num_timesteps)
        before = _made_in(origin, own, place)
        if before is not None:
            place, found = before, own[before]
            kept.append(replace(found, rows=tuple(row for row in found.rows if row.num_timesteps <= limit)))
            limit, origin = min(limit, found.begun_at), found.resumed_from
        elif origin.session is not None:
            missing.append(origin.session)
            origin = (origins or {}).get(origin.session)
        else:
            break
    return History(newest.scenario, tuple(_rising(reversed(kept))), tuple(reversed(missing)))


def _made_in(origin: Origin, own: Sequence[Stretch], place: int) -> int | None:
    """Return the index of the stretch that a set was made in, or None.

    Args:
        origin: the set.
        own: every stretch of the scenario.
        place: index of the stretch that went on from the set.
    """
    heir = own[place]
    found = [i for i, s in enumerate(own) if s.session == origin.session and s.begun_at <= origin.num_timesteps]
    if origin.session is None:  # plain local training names no session; the generations of a lineage rise
        found = [i for i in found if own[i].lineage == heir.lineage and own[i].generation < heir.generation]
    elif origin.session == heir.session:  # a script that opens its session more than once
        found = [i for i in found if i < place]
    return max(found, key=lambda i: (own[i].generation, i), default=None)


def _rising(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    newest = -1
    for stretch in stretches:
        rows = tuple(row for row in stretch.rows if row.num_timesteps > newest)
        newest = rows[-1].num_timesteps if rows else newest
        yield replace(stretch, rows=rows)
