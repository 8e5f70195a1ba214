"""plot: the curves of a training over all its sessions, in the terminal or as a picture."""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..core import fsio
from ..core.errors import UsageError
from ..sync.plot import PlotReport, plot_path, plot_run, plot_session
from . import plot_text, targets
from .output import Answer, Output
from .targets import RunTarget, SessionTarget
from .text import Line

_WIDTH = 80
_WIDEST = 160


def plot(arguments: Namespace, output: Output) -> Answer:
    """Draw the metrics of a run, of one session, or of what lies in a folder."""
    picture = Path(arguments.output) if arguments.output is not None else None
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--output {picture}: a picture is a PNG file", hint=f"--output {picture.with_suffix('.png')}")
    report = _report(arguments)
    if picture is not None:
        from .picture import png

        drawn = png(plot_text.title(report), report.curves)
        fsio.make_folder(picture.absolute().parent)
        fsio.write_bytes(picture, drawn)
        report = replace(report, output=picture)
    return Answer(report.to_json, lambda: _lines(arguments, report))


def _report(arguments: Namespace) -> PlotReport:
    target = targets.resolve(arguments.target, targets.project_or_none(arguments))
    scenario, metrics = arguments.scenario, arguments.metric
    if isinstance(target, RunTarget):
        return plot_run(target.project, target.run, scenario=scenario, metrics=metrics)
    if isinstance(target, SessionTarget):
        return plot_session(target.project, target.record, scenario=scenario, metrics=metrics)
    return plot_path(target, scenario=scenario, metrics=metrics)


def _lines(arguments: Namespace, report: PlotReport) -> Iterator[Line]:
    if arguments.list:
        yield from plot_text.table(report)
    elif report.output is None:
        width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDEST)
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        yield from plot_text.charts(report, width=width, braille=encoding.startswith("utf"))
    else:
        yield plot_text.summary(report)
        yield f"wrote {report.output}"
