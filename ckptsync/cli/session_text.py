"""How sessions and runs read: tables and sentences that a newcomer understands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..core.units import size_text
from . import text
from .policy_text import keeping, needing, saving
from .text import Line, Part

if TYPE_CHECKING:
    from ..sync.control import SaveReport
    from ..sync.launch import LaunchPlan
    from ..sync.overview import Overview, RunStatus, ScenarioStatus, SessionRow
    from ..sync.receipts import RestoreReceipt
    from ..sync.restore_plan import RestorePlan
    from ..sync.roundtrip import RoundTrip
    from ..sync.store.tier_states import TierState

SHOWN_SESSIONS = 10
_CAUSES = {
    "target": "target reached",
    "deadline": "stopped before its deadline",
    "steps": "its steps are done",
    "request": "stopped when asked",
    "callback": "stopped by a callback",
    "signal": "stopped by a signal",
    "error": "its script failed",
    "exit": "its script ended",
}
# How far the way home is, or what the runner said where that is no plain success
_STATES = {
    "planned": "planned, not started",
    "started": "running",
    "finished": "ended, to be fetched",
    "fetched": "fetched, to be verified",
    "verified": "verified, to be restored",
    "restoring": "being restored",
    "closed": "closed, never started",
    "elsewhere": "started elsewhere",
    "superseded": "passed over for a later one",
}
_FINE = ("target", "deadline", "steps", "request")


def session_table(rows: Iterable[SessionRow], *, last: int | None = None) -> Iterator[Line]:
    """Return a line for each session and scenario, oldest first, under a heading; nothing without sessions.

    Args:
        rows: the sessions.
        last: only so many of the newest lines.
    """
    rows = list(rows)
    left_out = max(0, len(rows) - last) if last is not None else 0
    if left_out:
        yield text.dim(f"({text.count(left_out, 'earlier line')}: ckptsync status)")
        rows = rows[left_out:]
    if not rows:
        return
    several = any(row.scenario is not None and row.scenario != row.session.rpartition("/")[0] for row in rows)
    named = ["scenario"] if several else []
    head = ("session", *named, "started at", "ended at", "checkpoints", "seconds", "fidelity", "how it ended")
    cells: list[Sequence[Part]] = []
    for row, before in zip(rows, [None, *rows], strict=False):
        first = before is None or before.session != row.session
        cells.append(
            (
                row.session if first else "",
                *([row.scenario or "-"] if several else []),
                text.value(row.started_at),
                text.value(row.ended_at),
                str(row.checkpoints),
                f"{row.seconds:.1f}" if first and row.seconds is not None else "-",
                row.fidelity or ("from zero" if row.started_at is not None else "-"),
                _ended(row),
            )
        )
    yield from text.table(head, cells, right=range(len(head) - 6, len(head) - 2))


def ending(row: SessionRow) -> str:
    """Return how a session ended, or how far its way home is, in words."""
    state, _, undone = row.state.partition(", ")
    cause = _CAUSES.get(row.cause or "", row.cause or "")
    after = f", {undone}" if undone else ""
    if state in ("complete", "restored"):
        return (cause or state) + after
    return _STATES.get(state) or ", ".join(filter(None, [state, cause])) + after


def _ended(row: SessionRow) -> Part:
    state, _, undone = row.state.partition(", ")
    if state in ("complete", "restored"):
        return text.good(ending(row)) if row.cause in _FINE and not undone else text.warn(ending(row))
    return text.strong(ending(row)) if state in _STATES else text.bad(ending(row))


def run_status(status: RunStatus, *, last: int | None = None) -> Iterator[Line]:
    """Return where a run stands: its scenarios, its sessions, what is under way."""
    yield [text.strong(status.run), f" on {status.runner}, training tree {status.tree}"]
    width = max(len(scenario.name) for scenario in status.scenarios)
    for scenario in status.scenarios:
        yield f"  {text.escape(scenario.name):{width}}  {_progress(scenario)}"
    for allowance in status.allowances:
        hours = f"{allowance.left_seconds / 3600:.1f} of {allowance.allowed_seconds / 3600:.1f}"
        renews = f", renewed at {allowance.renews_at}" if allowance.renews_at else ""
        yield f"  {text.escape(allowance.kind)}: {hours} hours left{renews}"
    if status.not_known:
        yield f"  hours left on {status.runner}: not known ({status.not_known})"
    for state in status.copies:
        yield f"  {state.tier} store {text.escape(state.url)}: {_copies(state)}"
    if status.sessions:
        yield ""
        for line in session_table(status.sessions, last=last):
            yield ["  ", *text.parts_of(line)]
    if status.running is not None:
        yield ""
        yield f"  under way: {status.running} ({', '.join(filter(None, [status.stage, status.state]))})"


def _progress(scenario: ScenarioStatus) -> str:
    share = 100 * scenario.num_timesteps // scenario.target if scenario.target else 100
    done = f"{scenario.num_timesteps:,} of {scenario.target:,} steps ({share} %)"
    if scenario.damaged:
        return f"{done}, its head is missing or damaged"
    return f"{done}, head {scenario.head}" if scenario.head else f"{done}, no checkpoint yet"


def _copies(state: TierState) -> str:
    heads = ", ".join(f"{text.escape(name)} at {steps:,}" for name, steps in state.heads.items())
    unseen = "not reached yet" if state.error else "not looked at yet"
    known = f"{heads} ({state.reached_at})" if heads else "nothing there yet" if state.reached_at else unseen
    waiting = f"; {text.count(state.waiting, 'checkpoint')} not there yet" if state.waiting else ""
    return known + waiting + (f"; {text.escape(state.error)}" if state.error else "")


def overview(report: Overview, *, last: int | None = None) -> Iterator[Line]:
    """Return every run, and what to type next."""
    for status in report.runs:
        yield from run_status(status, last=last)
        yield ""
    yield next_line(report.next_command)


def next_line(command: str) -> Line:
    """Return the line that names the next command."""
    return [text.strong("next: "), command]


def planned(plan: LaunchPlan) -> Iterator[Line]:
    """Return what a launch would do."""
    if plan.reached:
        yield f"nothing to train: run {plan.spec.run} has reached its target; raise total_timesteps to train on"
        return
    spec = plan.spec
    yield from (f"would first bring {text}" for text in plan.brings)
    session = "the next session" if plan.brings else spec.session
    yield f"would start {session} on {plan.runner} (lineage {spec.lineage}, generation {spec.generation})"
    for scenario in spec.scenarios:
        start = plan.resumes.get(scenario.name)
        where = f"goes on from {start[0]}" if start else "begins from zero"
        yield f"  {scenario.name}: {where}, target {scenario.total_timesteps:,} steps"
    if spec.max_steps is not None:
        yield f"  at most {spec.max_steps:,} steps in this session" + (" (quick)" if spec.quick else "")
    if spec.budget_seconds is not None:
        yield f"  at most {text.duration(spec.budget_seconds)}, stopping {text.duration(spec.margin_seconds)} before"
    yield f"  {saving(spec.save)}"
    yield f"  {keeping(spec.save)}"
    for room in plan.rooms:
        yield from needing(room)
    checkpoints = f", {text.count(len(plan.inputs), 'checkpoint')} with {size_text(plan.carried_bytes)}"
    packs = checkpoints if plan.inputs else ""
    yield f"  sends a script of {size_text(plan.bundle_bytes)}{packs}"
    if spec.params:
        yield "  parameters: " + ", ".join(f"{key}={value!r}" for key, value in spec.params.items())
    yield from _notes(plan.notes)


def came_home(trip: RoundTrip, status: RunStatus) -> Iterator[Line]:
    """Return how a round trip ended: the sessions, the message, the next command."""
    yield from session_table(status.sessions, last=SHOWN_SESSIONS)
    if status.sessions:
        yield ""
    said, *more = trip.message.splitlines()
    yield text.good(said) if trip.exit_code == 0 else text.bad(said)
    yield from more
    if trip.next_command:
        yield next_line(trip.next_command)


def saved(report: SaveReport) -> Iterator[Line]:
    """Return what a request for a save led to."""
    found = report.saved
    if found is None:
        yield f"would ask {report.session} for a save"
        return
    size, after = size_text(found.get("size_bytes") or 0), text.duration(report.seconds)
    yield text.good(f"{report.session} saved {found.get('stem')} ({size}), {after} after it was asked; it goes on")
    yield next_line(f"ckptsync fetch {report.session}")


def restore_planned(plan: RestorePlan) -> Iterator[Line]:
    """Return what a restore would do."""
    yield f"would restore from {plan.session}:"
    for name, part in plan.scenarios.items():
        yield text.strong(f"  {name}")
        for manifest in part.add:
            yield text.good(f"    + {manifest.stem} ({size_text(manifest.size_bytes)})")
        for stored, findings in part.heal:
            yield text.warn(f"    replaces the damaged {stored.stem}: {findings[0]}")
        for manifest in part.attic:
            yield text.warn(f"    - {manifest.stem} to the attic")
        for stored, findings in part.refused:
            yield text.bad(f"    refused {stored.stem}: {findings[0]}")
        before = part.head_from.stem if part.head_from else "none"
        if part.behind:
            yield text.bad(f"    {part.behind}")
        elif part.moves and part.head_to is not None:
            yield f"    head: {before} -> {part.head_to.stem}"
        else:
            yield f"    head: stays {before}"
        yield from (["  ", *text.parts_of(note)] for note in _notes(part.notes))
    if any(part.behind for part in plan.scenarios.values()):
        yield "naming the session does it on purpose; the newer sets go to the attic"
        yield next_line(f"ckptsync restore {plan.run} --session {plan.session}")


def restored(receipt: RestoreReceipt, *, dry_run: bool = False) -> Iterator[Line]:
    """Return what a restore, or its undo, did; with `dry_run` what the undo would do."""
    for name, moved in receipt.scenarios.items():
        before, after = moved.head_from, moved.head_to
        if receipt.undone:
            where = f"{before.num_timesteps:,} steps ({before.stem})" if before else "nothing, as before"
            yield text.good(f"{name}: {'would be ' if dry_run else ''}back at {where}")
        elif after is None:
            kept = f"the head stays {before.stem}" if before else "there is no head"
            yield text.bad(f"{name}: no checkpoint may be used; {kept}")
        elif before is not None and before.digest == after.digest:
            yield f"{name}: at {after.num_timesteps:,} steps ({after.stem}), as before"
        else:
            yield text.good(f"{name}: at {after.num_timesteps:,} steps now ({after.stem})")
        if moved.healed and not receipt.undone:
            healed = ", ".join(stem for stem, _ in moved.healed)
            yield text.good(f"{name}: damaged in the training tree and sound again: {healed}")
        if moved.fallback and not receipt.undone:
            yield text.warn(f"{name}: the newest checkpoint is broken, an older one is used")
    yield next_line(f"ckptsync launch {receipt.run}")


def _notes(notes: Iterable[str]) -> Iterator[Line]:
    for note in notes:
        yield ["  ", text.warn("note: "), note]
