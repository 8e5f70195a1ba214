"""plot: the metrics of a run over its steps, over all its sessions. Reads only; drawing is the command line's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import NothingFoundError, UsageError
from ..core.history import History, join
from ..core.metrics import REWARD, loss_of
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from ..project.values import did_you_mean
from . import metric_sources
from .metric_sources import Source
from .reporting import shown_path

PLOT_SCHEMA = "ckptsync.plot/1"


@dataclass(frozen=True)
class Curves:
    """What is drawn of one scenario.

    Args:
        history: its history.
        metrics: the names of what is drawn, in order; those that this scenario has.
    """

    history: History
    metrics: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the scenario as it stands in the JSON output."""
        return {
            "scenario": self.history.scenario,
            "target": self.history.target,
            "metrics": self.history.metrics,
            "sessions": [
                {
                    "session": stretch.session,
                    "begun_at": stretch.begun_at,
                    "ended_at": stretch.rows[-1].num_timesteps if stretch.rows else stretch.begun_at,
                }
                for stretch in self.history.stretches
            ],
            "series": [{"metric": name, "points": self.history.points(name)} for name in self.metrics],
        }


@dataclass(frozen=True)
class PlotReport:
    """What there is to draw.

    Args:
        target: what was named: a run, a session or a path.
        curves: one for each scenario.
        notes: in words, what people should know.
        output: the picture that was written, or None.
    """

    target: str
    curves: tuple[Curves, ...]
    notes: tuple[str, ...] = ()
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": PLOT_SCHEMA,
            "exit_code": 0,
            "target": self.target,
            "scenarios": [curves.to_json() for curves in self.curves],
            "notes": list(self.notes),
            "output": str(self.output) if self.output is not None else None,
        }


def plot_run(
    project: Project, run: RunConfig, *, scenario: str | None = None, metrics: Sequence[str] = ()
) -> PlotReport:
    """Gather the history of a run: what its sessions left, and what the one that runs has written so far.

    Args:
        project: the project.
        run: the run.
        scenario: only this one.
        metrics: what to draw; reward and loss when empty.

    Raises:
        NothingFoundError: no session has left any numbers yet.
        UsageError: there is no such scenario or metric.
    """
    hint = f"ckptsync launch {run.name} --quick"
    return _report(metric_sources.of_run(project, run), run.name, scenario, metrics, hint)


def plot_session(
    project: Project, record: SessionRecord, *, scenario: str | None = None, metrics: Sequence[str] = ()
) -> PlotReport:
    """Gather what one session has left; see `plot_run`."""
    hint = f"ckptsync fetch {record.session}"
    return _report(metric_sources.of_session(project, record), record.session, scenario, metrics, hint)


def plot_path(path: Path, *, scenario: str | None = None, metrics: Sequence[str] = ()) -> PlotReport:
    """Gather the history that lies in a file or folder; see `plot_run`."""
    hint = "name a metrics.jsonl, a folder that a session has left, or a training tree"
    return _report(metric_sources.of_path(path), str(shown_path(path)), scenario, metrics, hint)


def _report(source: Source, target: str, scenario: str | None, metrics: Sequence[str], hint: str) -> PlotReport:
    if scenario is not None and scenario not in source.newest and source.newest:
        raise UsageError(
            f"{target} has no numbers of scenario {scenario!r}", hint=did_you_mean(scenario, source.newest)
        )
    histories = []
    for name, newest in source.newest.items():
        origins = {session: origin for (session, of), origin in source.origins.items() if of == name}
        history = join(source.stretches, newest, origins=origins)
        if history.metrics and scenario in (None, name):
            histories.append(history)
    if not histories:
        raise NothingFoundError(
            f"No metrics found in {target}: this is normal before a session has trained for some seconds", hint=hint
        )
    known = {name for history in histories for name in history.metrics}
    for name in metrics:
        if name not in known:
            raise UsageError(f"{target} has no metric {name!r}", hint=did_you_mean(name, known))
    notes = [
        f"{history.scenario}: the numbers of {', '.join(history.missing)} are not here"
        for history in histories
        if history.missing
    ]
    curves = tuple(Curves(history, _chosen(history, metrics)) for history in histories)
    return PlotReport(target, curves, (*source.notes, *notes))


def _chosen(history: History, wanted: Sequence[str]) -> tuple[str, ...]:
    if wanted:
        return tuple(name for name in dict.fromkeys(wanted) if name in history.metrics)
    loss = loss_of(history.metrics)
    usual = [name for name in (REWARD, loss) if name is not None and name in history.metrics]
    return tuple(usual or history.metrics[:2])
