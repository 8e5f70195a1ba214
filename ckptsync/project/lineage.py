"""Sessions and lineages as the ledger tells them: what was planned, how far it came, what descends from what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core import names
from ..core.manifest import Manifest, Origin
from ..core.session import SessionSpec
from .ledger import LedgerEntry

# How far a session has come. The last two need nothing more.
STAGES = ("planned", "started", "finished", "fetched", "verified", "restoring", "restored", "closed")
_SETTLED = ("restored", "closed")
_LINEAGE = re.compile(r"l(?P<number>[0-9]{4,9})-[0-9a-f]{6}", re.ASCII)
# The entries that were asked about last, and their sessions: a command asks many times, and what is new stands behind
_last: tuple[list[LedgerEntry], dict[str, SessionRecord]] = ([], {})


@dataclass(frozen=True)
class ScenarioRecord:
    """What a session did for one scenario, from the events that it wrote itself.

    Args:
        started_at: num_timesteps at its beginning, or None when it never began.
        ended_at: num_timesteps at its last sign of life.
        target: what it was to reach.
        checkpoints: how many sets it sealed.
        resumed: fidelity of the resume (`exact`, `state`, `weights`), or None when it began from zero.
        reasons: why the fidelity is no higher.
        captured: what its last set holds, or None.
        cause: why it ended, or None.
    """

    started_at: int | None = None
    ended_at: int | None = None
    target: int | None = None
    checkpoints: int = 0
    resumed: str | None = None
    reasons: tuple[str, ...] = ()
    captured: str | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Refusal:
    """An error that ckptsync raised on purpose inside a session, and that ended it.

    Args:
        exit_code: of the error.
        message: what failed, and why; the first line says the main thing.
        hint: what to do, or None.
    """

    exit_code: int
    message: str
    hint: str | None


@dataclass(frozen=True)
class SessionRecord:
    """One session, as far as the ledger knows it.

    Args:
        session: its id.
        run: its run.
        spec: what it was told.
        runner: the runner that it is for.
        stage: how far it came, one of STAGES.
        inputs: the packs that it was given, as JSON: `file`, `scenario`, `stem`, `digest`.
        handle: what finds it again at its runner, as JSON; None before it started.
        state: what the runner said at the end, or None.
        message: in the runner's words.
        verdict: of its outputs, or None.
        receipt: of its restore, as JSON; the plan while it is being carried out.
        reason: why it was closed.
        seconds: wall clock by its own account, or the runner's.
        cause: why it ended, by its own account.
        error: what ended its script, by its own account, or None.
        refusal: the error of ckptsync that did, or None.
        fell_back: the launch used an older set because the head was broken.
        undone: its restore was taken back.
        planned_at: when, for people.
        scenarios: what it did for each scenario.
        discovered: it was planned elsewhere, and its runner's service told of it.
        cancelled: it was asked to stop from here.
    """

    session: str
    run: str
    spec: SessionSpec
    runner: str
    stage: str = "planned"
    inputs: tuple[Mapping[str, Any], ...] = ()
    handle: Mapping[str, Any] | None = None
    state: str | None = None
    message: str = ""
    verdict: str | None = None
    receipt: Mapping[str, Any] | None = None
    reason: str | None = None
    seconds: float | None = None
    cause: str | None = None
    error: str | None = None
    refusal: Refusal | None = None
    fell_back: bool = False
    undone: bool = False
    planned_at: str = ""
    scenarios: Mapping[str, ScenarioRecord] = field(default_factory=dict)
    discovered: bool = False
    cancelled: bool = False

    @property
    def order(self) -> tuple[str, int]:
        """Which of two sessions is the newer one, whichever was planned or started first."""
        return (self.spec.lineage, self.spec.generation)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.stage in _SETTLED


def records(entries: Iterable[LedgerEntry], run: str | None = None) -> list[SessionRecord]:
    """Return the sessions of a run (of all runs when None) in the order of planning.

    One that is planned again is another session: the first to be started has the id.
    """
    global _last
    entries = list(entries)
    known, before = _last
    if entries[: len(known)] != known:
        known, before = [], {}
    found = dict(before)
    for entry in entries[len(known) :]:
        if entry.event == "planned" and entry.session is not None:
            spec = SessionSpec.from_json(entry.fields["spec"])
            found[entry.session] = SessionRecord(
                entry.session,
                entry.run,
                spec,
                runner=entry.fields["runner"],
                inputs=tuple(entry.fields["inputs"]),
                fell_back=bool(entry.fields.get("fell_back")),
                planned_at=entry.at,
                discovered=bool(entry.fields.get("discovered")),
            )
        elif entry.session in found:
            record = found[entry.session]
            found[entry.session] = _STEPS.get(entry.event, _no_step)(record, entry.fields)
    _last = (entries, found)
    return [record for record in found.values() if run in (None, record.run)]


def unsettled(found: Iterable[SessionRecord]) -> SessionRecord | None:
    """Return the session that something is left to do for, or None: the oldest of ours, else the newest of others."""
    left = [record for record in found if not record.settled]
    ours = next((record for record in left if not record.discovered), None)
    return ours or max(left, key=lambda record: record.order, default=None)


def _no_step(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return record


def _started(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, stage="started", handle=fields["handle"])


def _finished(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    if record.state is not None:  # two commands waited; the first has gone on since
        return record
    seconds = record.seconds if record.seconds is not None else fields.get("seconds")
    return replace(record, stage="finished", state=fields["state"], message=fields["message"], seconds=seconds)


def _fetched(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    # What is fetched again after it was settled stays settled
    stage = record.stage if record.settled or record.state is None else "fetched"
    return replace(
        record,
        stage=stage,
        seconds=fields.get("seconds") or record.seconds,
        cause=fields.get("cause") or record.cause,
        error=fields.get("error") or record.error,
    )


def _verified(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, stage=record.stage if record.settled else "verified", verdict=fields["verdict"])


def _restoring(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, stage="restoring", receipt=fields["receipt"], undone=False)


def _restored(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    # What a session that still runs has sealed so far may come home before its end; the rest is still to come
    stage = "restored" if record.state is not None else "started"
    return replace(record, stage=stage, receipt=fields["receipt"], undone=False)


def _closed(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, stage="closed", reason=fields["reason"])


def _cancelled(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, cancelled=True)


def _undone(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    return replace(record, undone=True)


def _session_event(record: SessionRecord, fields: Mapping[str, Any]) -> SessionRecord:
    data = fields["data"]
    if data["event"] == "error":
        code = data.get("exit_code")
        refusal = Refusal(code, data["message"], data.get("hint")) if code is not None else None
        return replace(record, refusal=refusal)
    name = data.get("scenario")
    if not isinstance(name, str) or data["event"] not in _SCENARIO_STEPS:
        return record
    before = record.scenarios.get(name, ScenarioRecord())
    return replace(record, scenarios={**record.scenarios, name: _SCENARIO_STEPS[data["event"]](before, data)})


def _scenario_start(scenario: ScenarioRecord, data: Mapping[str, Any]) -> ScenarioRecord:
    fidelity = data.get("fidelity") or {}
    steps = data["num_timesteps"]
    return replace(
        scenario,
        started_at=steps if scenario.started_at is None else scenario.started_at,
        ended_at=max(steps, scenario.ended_at or 0),
        target=data.get("target", scenario.target),
        resumed=fidelity.get("resumed"),
        reasons=tuple(fidelity.get("reasons", ())),
    )


def _scenario_save(scenario: ScenarioRecord, data: Mapping[str, Any]) -> ScenarioRecord:
    return replace(
        scenario,
        ended_at=max(data["num_timesteps"], scenario.ended_at or 0),
        checkpoints=scenario.checkpoints + 1,
        captured=data.get("captured", scenario.captured),
    )


def _scenario_end(scenario: ScenarioRecord, data: Mapping[str, Any]) -> ScenarioRecord:
    return replace(scenario, ended_at=data["num_timesteps"], cause=data["cause"])


_STEPS: Mapping[str, Callable[[SessionRecord, Mapping[str, Any]], SessionRecord]] = {
    "started": _started,
    "finished": _finished,
    "session": _session_event,
    "fetched": _fetched,
    "verified": _verified,
    "restoring": _restoring,
    "restored": _restored,
    "closed": _closed,
    "cancelled": _cancelled,
    "undone": _undone,
}
_SCENARIO_STEPS: Mapping[str, Callable[[ScenarioRecord, Mapping[str, Any]], ScenarioRecord]] = {
    "start": _scenario_start,
    "save": _scenario_save,
    "end": _scenario_end,
}


def next_session(run: str, found: Iterable[SessionRecord], made: Iterable[Manifest] = ()) -> str:
    """Return the id of the next session of a run; numbers are never used again.

    Args:
        run: the run.
        found: its sessions.
        made: sets of its training tree; those that came from a store were made by sessions that no ledger here knows.
    """
    known = [*(record.session for record in found), *(m.session for m in made if m.session is not None)]
    numbers = [number for of, number in map(names.parse_session_id, known) if of == run]
    return names.session_id(run, max(numbers, default=0) + 1)


def next_generation(lineage: str, found: Iterable[SessionRecord], heads: Iterable[tuple[str, int]]) -> int:
    """Return the next generation of a lineage: behind every head and every session that was ever planned in it.

    Args:
        lineage: the lineage.
        found: all sessions.
        heads: (lineage, generation) of the heads and sets in the tree.
    """
    planned = [record.spec.generation for record in found if record.spec.lineage == lineage]
    stored = [generation for known, generation in heads if known == lineage]
    return max([0, *planned, *stored]) + 1


def next_lineage(known: Iterable[str], token: str) -> str:
    """Return the id of a new lineage, which sorts behind all known ones.

    Args:
        known: every lineage in the ledger and the tree.
        token: six random hexadecimal digits, so that two machines never mean the same one.
    """
    numbers = [int(match["number"]) for lineage in known if (match := _LINEAGE.fullmatch(lineage))]
    return f"l{max(numbers, default=0) + 1:04d}-{token}"


def descends(
    newer: Manifest, older: Manifest, *, known: Mapping[str, Manifest], sessions: Mapping[str, SessionSpec]
) -> bool:
    """Whether a set was reached from another one.

    The way back leads through `resumed_from`: to a set that is still there, or, when retention has
    removed it, to what the ledger says its session started from.

    Args:
        newer: the set that might descend.
        older: the set that it might descend from.
        known: digest -> manifest of every set that is still there.
        sessions: session -> what it was told.
    """
    if newer.digest == older.digest:
        return True
    if _same_session(newer, older):
        return older.num_timesteps <= newer.num_timesteps
    origin, seen = newer.resumed_from, set[str]()
    while origin is not None and origin.digest not in seen:
        seen.add(origin.digest)
        if origin.digest == older.digest:
            return True
        if origin.session is not None and origin.session == older.session:
            return older.num_timesteps <= origin.num_timesteps
        reached = known.get(origin.digest)
        if reached is not None and _same_session(reached, older):
            return older.num_timesteps <= reached.num_timesteps
        origin = _origin_before(origin, newer.scenario, known, sessions)
    return False


def _same_session(newer: Manifest, older: Manifest) -> bool:
    place = (newer.session, newer.lineage, newer.generation)
    return place == (older.session, older.lineage, older.generation)


def _origin_before(
    origin: Origin, scenario: str, known: Mapping[str, Manifest], sessions: Mapping[str, SessionSpec]
) -> Origin | None:
    if origin.digest in known:
        return known[origin.digest].resumed_from
    spec = sessions.get(origin.session) if origin.session else None
    return spec.heads.get(scenario) if spec else None
