"""How series of sessions, dispatch and collect read: on a terminal, and as the summary of a job of CI."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import EXIT_CODE_MEANINGS, ExitCode
from . import text
from .session_text import SHOWN_SESSIONS, ending, next_line, session_table
from .text import Line

if TYPE_CHECKING:
    from ..sync.dispatch import Report
    from ..sync.overview import RunStatus, ScenarioStatus, SessionRow
    from ..sync.run_until import Series

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_BAR = 20


@dataclass(frozen=True)
class Verdict:
    """What a command came to.

    Args:
        message: what happened.
        next_command: what to type next.
        exit_code: of the command.
    """

    message: str
    next_command: str
    exit_code: int


def ran(series: Series, status: RunStatus) -> Iterator[Line]:
    """Return what a series of sessions came to."""
    yield from session_table(status.sessions, last=SHOWN_SESSIONS)
    if status.sessions:
        yield ""
    sessions = text.count(len(series.trips), "session")
    yield f"{sessions}, {series.steps:,} steps more, {text.duration(series.seconds)}"
    yield text.good(series.message) if series.exit_code == 0 else text.bad(series.message)
    yield next_line(series.next_command)


def reported(report: Report, status: RunStatus | None = None) -> Iterator[Line]:
    """Return what a dispatch or collect found and did."""
    if status is not None and status.sessions:
        yield from session_table(status.sessions, last=SHOWN_SESSIONS)
        yield ""
    said, *more = report.message.splitlines()
    yield text.good(said) if report.exit_code == 0 else text.bad(said)
    yield from more
    yield next_line(report.next_command)


def markdown(status: RunStatus, verdict: Verdict) -> Iterator[str]:
    """Return the summary of a job: where the run stands, its sessions, what happened, what comes next."""
    good = verdict.exit_code == ExitCode.OK
    yield f"### {_plain(status.run)} on {_plain(status.runner)}"
    yield ""
    said, *more = verdict.message.splitlines()
    yield f"**{_plain(said)}**" + ("" if good else f" (exit {verdict.exit_code}: {_meaning(verdict.exit_code)})")
    if more:
        yield ""
        yield from (f"    {line}" for line in more)
    yield ""
    yield "| scenario | steps | target | |"
    yield "| --- | ---: | ---: | --- |"
    yield from (_scenario(scenario) for scenario in status.scenarios)
    if status.sessions:
        yield ""
        yield "| session | scenario | from | to | checkpoints | time | how it ended |"
        yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
        yield from (_session(row) for row in status.sessions[-SHOWN_SESSIONS:])
    if verdict.next_command:
        yield ""
        yield f"Next: {_plain(verdict.next_command)}"
    yield ""


def _scenario(scenario: ScenarioStatus) -> str:
    share = min(scenario.num_timesteps / scenario.target, 1.0) if scenario.target else 1.0
    bar = "█" * round(share * _BAR) + "░" * (_BAR - round(share * _BAR))
    cells = (_plain(scenario.name), f"{scenario.num_timesteps:,}", f"{scenario.target:,}", f"{bar} {share:.0%}")
    return _row(*cells)


def _session(row: SessionRow) -> str:
    return _row(
        _plain(row.session),
        _plain(row.scenario or "-"),
        text.value(row.started_at),
        text.value(row.ended_at),
        str(row.checkpoints),
        text.duration(row.seconds),
        _plain(ending(row)),
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _meaning(exit_code: int) -> str:
    return EXIT_CODE_MEANINGS[ExitCode(exit_code)].replace("|", "/")


def _plain(foreign: str) -> str:
    """Return text that is shown as it is: nothing in it is markup of Markdown or HTML, or ends the line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(text.escape(foreign), quote=False))
