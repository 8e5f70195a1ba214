"""How a policy of saving and keeping reads, and what it needs on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.session import AUTO, SavePolicy
from ..core.units import size_text
from . import text
from .text import Line

if TYPE_CHECKING:
    from ..sync.room import ScenarioRoom


def saving(policy: SavePolicy) -> str:
    """Say when sets are saved."""
    when = []
    if policy.every_steps:
        when.append(f"every {policy.every_steps:,} steps")
    if policy.every_seconds == AUTO:
        share = f"{100 * policy.max_overhead:g} %"
        when.append(f"as often as pays (failures every {_span(policy.failure_seconds)}, overhead up to {share})")
    elif policy.every_seconds is not None:
        when.append(f"every {_span(policy.every_seconds)}")
    if policy.save_best:
        when.append("on a new best")
    return "saves " + ", ".join([*when, "and at the end"] if when else ["at the end only"])


def keeping(policy: SavePolicy) -> str:
    """Say which sets stay."""
    best = "the best" if policy.keep_best <= 1 else f"the best {policy.keep_best}"
    kept = [f"the newest {policy.keep_last}", best]
    if policy.keep_every_steps:
        kept.append(f"one of every {policy.keep_every_steps:,} steps")
    return "keeps " + ", ".join([*kept, "and final ones"])


def _span(seconds: float) -> str:
    return text.duration(seconds).removesuffix(" 0 s").removesuffix(" 0 min")


def needing(room: ScenarioRoom) -> Iterator[Line]:
    """Say what the sets of a scenario will need."""
    if room.ahead is None or room.set_bytes is None:
        yield f"  {text.escape(room.scenario)}: how large a checkpoint is will be known after the first one"
        return
    least, most, free = room.ahead.least_bytes, room.ahead.most_bytes, room.ahead.free_bytes
    grows = size_text(most) if least == most else f"{size_text(least)} to {size_text(most)}"
    yield (
        f"  {text.escape(room.scenario)}: a checkpoint of {size_text(room.set_bytes)}; the training tree will grow by "
        f"{grows}, {size_text(free)} are free"
    )
