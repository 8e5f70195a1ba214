"""Where a session stands, read from the line that it prints every ten seconds.

[TRAIN] cart 3,000/100,000 steps · run 4,000/200,000 · session 250/500 · reward 57.8 · 16:10 to the target
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"[0-9][0-9,]{0,24}"
_LINE = re.compile(
    rf"\[TRAIN\] (?P<scenario>.{{1,200}}?) (?P<n>{_NUMBER})/(?P<target>{_NUMBER}) steps(?P<rest>(?: · .*)?)"
)
_RUN = re.compile(rf"run (?P<done>{_NUMBER})/(?P<total>{_NUMBER})")
_OWN_BAR = ("run ", "session ")


@dataclass(frozen=True)
class Standing:
    """Where a session stands.

    Args:
        scenario: the one that is being trained; foreign text.
        num_timesteps: its N.
        target: its total_timesteps.
        done: transitions of all scenarios of the run.
        total: what all of them are to reach.
        details: reward, loss, speed, time to the target and to the deadline, as far as it tells; foreign text.
    """

    scenario: str
    num_timesteps: int
    target: int
    done: int
    total: int
    details: tuple[str, ...] = ()


def parse_standing(line: str) -> Standing | None:
    """Return what a line of a session's log says of where it stands, None where it says something else."""
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        return None
    num_timesteps, target = _count(match["n"]), _count(match["target"])
    parts = match["rest"].split(" · ")[1:]
    run = next((found for part in parts if (found := _RUN.fullmatch(part))), None)
    done, total = (_count(run["done"]), _count(run["total"])) if run is not None else (num_timesteps, target)
    details = tuple(part for part in parts if not part.startswith(_OWN_BAR))
    return Standing(match["scenario"], num_timesteps, target, done, total, details)


def _count(text: str) -> int:
    return int(text.replace(",", ""))
