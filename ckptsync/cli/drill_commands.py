"""drill: whether a run survives the whole trip, told before it costs anything."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from ..core.errors import ExitCode
from ..core.findings import Severity
from ..core.units import size_text
from ..runners.base import SessionState
from ..sync import drill as drilling
from ..sync.drill.faults import Fault
from ..sync.drill.observed import Observed
from ..sync.drill.report import DrillReport
from ..sync.reporting import shown_path
from . import session_text, targets, text
from .output import Answer, Output, redact
from .progress import Reporter
from .text import Line, Part

_LABEL = 17
_WORDS = {Severity.BLOCKER: text.bad("FAIL"), Severity.WARNING: text.warn("warn"), Severity.NOTE: text.dim("note")}
_ENDS = {SessionState.ERROR: "failed", SessionState.TIMED_OUT: "killed at its limit"}


def drill(arguments: Namespace, output: Output) -> Answer:
    """Try the whole trip of a run on a throw-away lineage."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    terms = drilling.Terms(
        steps=arguments.steps or run.quick_steps,
        limit_seconds=arguments.limit,
        runner=arguments.runner,
        set=dict(arguments.set),
        keep=arguments.keep,
    )
    if arguments.dry_run:
        rehearsed = drilling.rehearse(project, run, terms)
        return Answer(rehearsed.to_json, lambda: _rehearsed(rehearsed))
    report = drilling.drill(project, run, terms, reporter=Reporter(output))
    return Answer(report.to_json, lambda: _told(report), report.exit_code)


def _rehearsed(report: DrillReport) -> Iterator[Line]:
    yield f"would drill {report.run} on {report.runner}, in .ckptsync/drill, which is removed at the end:"
    yield f"  a session of some {report.steps:,} steps with a stop in its middle, the way home, one more session"
    yield f"  each at most {text.duration(report.limit_seconds)}; training tree, ledger and results are not touched"


def _told(report: DrillReport) -> Iterator[Line]:
    yield text.strong(f"drill of {report.run} on {report.runner}")
    if report.first is not None:
        yield from _session("first session", report.first)
    if report.second is not None:
        yield from _session("second session", report.second)
    if report.measured.saves:
        yield from ("", text.strong("measured"))
        yield from _measured(report)
    if report.projected is not None and report.projected.lost_steps is not None:
        yield from ("", text.strong(f"what it means for {report.run}"))
        yield from _projected(report)
    yield from ("", text.strong("faults"))
    yield from _faults(report)
    yield ""
    yield from _verdict(report)


def _row(label: str, *parts: Part) -> Line:
    return [f"  {label:{_LABEL}}", *parts]


def _session(label: str, seen: Observed) -> Iterator[Line]:
    for name, begun in seen.begun.items():
        # Whether a plain script has loaded what it was given is for the faults to say
        at = f"at {begun.num_timesteps:,} steps"
        given = f"resumed {at} ({begun.resumed})" if seen.uses_session else f"given a checkpoint {at}"
        whence = given if begun.resumed else "from zero"
        yield _row(label, f"{name}: {whence}, reached {seen.reached.get(name, 0):,} steps")
        label = ""
    if not seen.begun:
        yield _row(label, "no step is known")
    if seen.interrupted:
        end = "did not stop, killed" if seen.killed else "stopped in the middle,"
        yield _row("", f"{end} {_seconds(seen.stop_seconds)} after it was asked to")
    elif seen.status.state in _ENDS:
        yield _row("", text.bad(_ENDS[seen.status.state]))


def _measured(report: DrillReport) -> Iterator[Line]:
    measured = report.measured
    size = f", {size_text(measured.size_bytes)} a set" if measured.size_bytes is not None else ""
    if measured.save_seconds is not None:
        yield _row("save", f"{_seconds(measured.save_seconds)} at worst{size}; {text.count(measured.saves, 'save')}")
    else:
        yield _row("save", f"not timed{size}; {text.count(measured.saves, 'save')}")
    if measured.stall_seconds is not None:
        yield _row("longest stall", f"{_seconds(measured.stall_seconds)} that a save held training up")
    if measured.fetch_seconds is not None:
        way = {"fetch": measured.fetch_seconds, "verify": measured.verify_seconds, "restore": measured.restore_seconds}
        yield _row("way home", ", ".join(f"{word} {_seconds(seconds)}" for word, seconds in way.items()))
    if measured.start_seconds is not None:
        yield _row("start and end", f"{_seconds(measured.start_seconds)} of the second session outside its training")
    if measured.steps_per_second is not None:
        yield _row("speed", f"{measured.steps_per_second:,.0f} steps/s")
    yield _row("fidelity", f"captured {measured.captured or '-'}, resumed {measured.resumed or '-'}")
    for reason in dict.fromkeys((*measured.captured_reasons, *measured.resumed_reasons)):
        yield _row("", text.dim(reason))


def _projected(report: DrillReport) -> Iterator[Line]:
    projected = report.projected
    if projected is None or projected.lost_steps is None:
        return
    after = f", {text.duration(projected.lost_seconds)} of training" if projected.lost_seconds is not None else ""
    yield _row("lost at worst", f"{projected.lost_steps:,} steps{after}: when it is killed just before a save")
    if projected.save_seconds is not None:
        share = f"{_seconds(projected.save_seconds)} of {text.duration(projected.margin_seconds)}"
        yield _row("save and margin", f"{share} that a session has left when it begins to stop")


def _faults(report: DrillReport) -> Iterator[Line]:
    if not report.faults:
        yield "  none"
    for fault in report.faults:
        yield from _fault(fault)
    failed = next((seen for seen in (report.second, report.first) if seen is not None and seen.crashed), None)
    if failed is not None:
        yield ""
        yield text.strong(f"the last lines of {failed.spec.session}")
        yield from (f"  | {redact(line).expandtabs()}" for line in failed.log_tail)


def _fault(fault: Fault) -> Iterator[Line]:
    yield ["  ", _WORDS[fault.severity], f"  {fault.message}"]
    if fault.hint:
        yield ["        ", text.strong("do: "), fault.hint]


def _verdict(report: DrillReport) -> Iterator[Line]:
    if report.folder is not None:
        yield f"kept until the next drill: {shown_path(report.folder)}"
    if report.exit_code == ExitCode.OK:
        yield text.good("all good: the run survives its sessions")
        yield session_text.next_line(f"ckptsync launch {report.run}")
    elif report.exit_code == ExitCode.PARTIAL:
        number = sum(fault.severity is Severity.WARNING for fault in report.faults)
        yield text.warn(f"the run survives its sessions, with {text.count(number, 'warning')}")
        yield session_text.next_line(f"ckptsync launch {report.run}")
    else:
        yield text.bad("the run does not survive its sessions")
        yield session_text.next_line(f"ckptsync drill {report.run}")


def _seconds(seconds: float | None) -> str:
    """Return short times with more digits than `text.duration` has."""
    if seconds is None or seconds >= 60:
        return text.duration(seconds)
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"
