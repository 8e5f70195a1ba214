"""metrics.jsonl: the numbers of a training over its steps, one line each, written by any number of sessions.

    {"at", "scenario", "num_timesteps", "start": {"session", "lineage", "generation", "target", "resumed_from"}}
    {"at", "scenario", "num_timesteps", "ep_rew_mean": 57.8, "train/loss": 6.1, ...}

The first kind opens a stretch: what one session adds to one scenario. The second kind is a row. A writer that
died leaves at most one torn line; what makes no sense is counted and passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import fields, jsonio, names
from .clock import now
from .errors import CkptsyncError
from .manifest import Origin

REWARD = "ep_rew_mean"
LENGTH = "ep_len_mean"
STEPS_PER_SECOND = "steps_per_second"
# What a save event says, as numbers over the steps
SAVE_METRICS = {"save_seconds": "seconds", "save_bytes": "size_bytes", "stall_seconds": "stall_seconds"}
# The one number that says most about the loss, for whichever algorithm logs it, in this order
_LOSSES = ("train/loss", "loss", "train/critic_loss", "train/value_loss", "train/policy_loss")

# A session of twelve hours writes a megabyte; more than this is no metric history
MAX_METRICS_BYTES = 256 << 20
_MAX_NAME = 200
_OWN = ("at", "scenario", "num_timesteps")


def loss_of(known: Iterable[str]) -> str | None:
    """Return which of some metrics is the loss, or None."""
    present = set(known)
    return next((name for name in _LOSSES if name in present), None)


@dataclass(frozen=True)
class Row:
    """The numbers at one clean point.

    Args:
        num_timesteps: N.
        values: metric -> finite number.
    """

    num_timesteps: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Stretch:
    """What one session adds to the history of one scenario.

    Args:
        scenario: the scenario.
        begun_at: N where it went on.
        session: the session's id; None outside any session, or where no line says it.
        lineage: the chain that it belongs to; empty where no line says it.
        generation: of the session in it.
        target: the scenario's total_timesteps then, or None.
        resumed_from: the set that it went on from; None: it began at zero, or no line says it.
        rows: in the order of N, each N once.
    """

    scenario: str
    begun_at: int
    session: str | None = None
    lineage: str = ""
    generation: int = 0
    target: int | None = None
    resumed_from: Origin | None = None
    rows: tuple[Row, ...] = ()


def start_line(stretch: Stretch) -> bytes:
    """Return the line that opens a stretch."""
    origin = stretch.resumed_from
    start = {
        "session": stretch.session,
        "lineage": stretch.lineage,
        "generation": stretch.generation,
        "target": stretch.target,
        "resumed_from": origin.to_json() if origin is not None else None,
    }
    return _line(stretch.scenario, stretch.begun_at, {"start": start})


def row_line(scenario: str, row: Row) -> bytes:
    """Return the line of a row; its values are finite."""
    return _line(scenario, row.num_timesteps, row.values)


def _line(scenario: str, num_timesteps: int, more: Mapping[str, Any]) -> bytes:
    value = {**more, "at": now(), "scenario": scenario, "num_timesteps": num_timesteps}
    return jsonio.canonical(value) + b"\n"


def parse_metrics(data: bytes) -> tuple[list[Stretch], int]:
    """Parse the bytes of a metrics.jsonl.

    Returns:
        its stretches in the order of their first lines, and how many lines made no sense.
    """
    *lines, _torn = data.split(b"\n")  # behind the last line break lies nothing, or a line that is still being written
    found: list[_Gathered] = []
    current: dict[str, _Gathered] = {}
    senseless = 0
    for line in lines:
        try:
            value = jsonio.parse(line)
            scenario, steps = _place(value)
            if "start" in value:
                current[scenario] = _Gathered(_started(scenario, steps, fields.mapping(value, "start")))
                found.append(current[scenario])
                continue
            row = _row(steps, value)
        except ValueError:
            senseless += 1
            continue
        if scenario not in current:
            current[scenario] = _Gathered(Stretch(scenario, steps))
            found.append(current[scenario])
        current[scenario].add(row)
    return [gathered.whole() for gathered in found], senseless


def _place(value: Any) -> tuple[str, int]:
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    try:
        return names.check_scenario(fields.text(value, "scenario")), fields.count(value, "num_timesteps")
    except CkptsyncError as error:
        raise ValueError(error.message) from None


def _started(scenario: str, steps: int, start: Mapping[str, Any]) -> Stretch:
    origin = start.get("resumed_from")
    return Stretch(
        scenario=scenario,
        begun_at=steps,
        session=fields.text(start, "session") if start.get("session") is not None else None,
        lineage=fields.text(start, "lineage"),
        generation=fields.count(start, "generation"),
        target=fields.count(start, "target") if start.get("target") is not None else None,
        resumed_from=Origin.from_json(origin) if origin is not None else None,
    )


def _row(steps: int, value: Mapping[str, Any]) -> Row:
    values = {}
    for name, number in value.items():
        if name in _OWN or len(name) > _MAX_NAME:
            continue
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            values[name] = float(number)
    return Row(steps, values)


@dataclass
class _Gathered:
    """A stretch whose rows are being read: N rises strictly, rows of one N are one."""

    stretch: Stretch
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row; one that goes back is passed over."""
        newest = self.rows[-1].num_timesteps if self.rows else self.stretch.begun_at
        if self.rows and row.num_timesteps == newest:
            self.rows[-1] = Row(newest, {**self.rows[-1].values, **row.values})
        elif row.num_timesteps >= newest:
            self.rows.append(row)

    def whole(self) -> Stretch:
        """Return the stretch."""
        return replace(self.stretch, rows=tuple(self.rows))


def with_saves(stretches: Iterable[Stretch], events: Iterable[Mapping[str, Any]]) -> list[Stretch]:
    """Add to the stretches of one session what its save events say, as numbers over the steps.

    Args:
        stretches: of one file; an event belongs to the newest of its scenario that had begun then.
        events: of the same session.
    """
    merged = [{row.num_timesteps: dict(row.values) for row in stretch.rows} for stretch in stretches]
    kept = list(stretches)
    for event in events:
        steps = event.get("num_timesteps")
        if event.get("event") != "save" or type(steps) is not int:
            continue
        numbers = {name: event[key] for name, key in SAVE_METRICS.items() if key in event}
        places = [i for i, s in enumerate(kept) if s.scenario == event.get("scenario") and s.begun_at <= steps]
        if places:
            merged[places[-1]].setdefault(steps, {}).update(_row(steps, numbers).values)
    return [
        replace(stretch, rows=tuple(Row(steps, rows[steps]) for steps in sorted(rows)))
        for stretch, rows in zip(kept, merged, strict=True)
    ]
