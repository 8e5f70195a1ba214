"""Words and lines for plots: what metrics are called, the charts of a terminal, the table of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core import names
from ..core.errors import UsageError
from ..core.metrics import LENGTH, REWARD, STEPS_PER_SECOND, Stretch
from ..sync.plot import PlotReport
from . import text
from .chart import ASCII, UNICODE, Chart, draw
from .text import Line, Part

# metric -> (what it is, its unit)
_KNOWN = {
    REWARD: ("mean reward per episode", ""),
    LENGTH: ("mean length of an episode", "steps"),
    STEPS_PER_SECOND: ("speed", "steps/s"),
    "save_seconds": ("time of a save", "s"),
    "save_bytes": ("size of a checkpoint", "bytes"),
    "stall_seconds": ("training held up by a save", "s"),
    "train/learning_rate": ("learning rate", ""),
}


def metric_title(metric: str, *, short: bool = False) -> str:
    """Return what a metric is called, with its unit.

    Args:
        metric: its name.
        short: for the side of a panel: without the name that it has in the files.
    """
    words, unit = _KNOWN.get(metric, (metric.removeprefix("train/").replace("_", " "), ""))
    unit = f" ({unit})" if unit else ""
    return words + unit if short or words == metric else f"{words}{unit} · {metric}"


def steps_title() -> str:
    """Return what stands below every plot."""
    return "steps (num_timesteps, all sessions)"


def session_label(stretch: Stretch, number: int) -> str:
    """Return the short name of a session, `s0003`; outside any session the number of its turn."""
    if stretch.session is None:
        return f"#{number}"
    try:
        return f"s{names.parse_session_id(stretch.session)[1]:04d}"
    except UsageError:  # what it calls itself is no session of ours
        return f"#{number}"


def charts(report: PlotReport, *, width: int, braille: bool) -> Iterator[Line]:
    """Return a chart for each scenario and metric, and what else there is to draw.

    Args:
        report: what to draw.
        width: of the terminal, in characters.
        braille: whether its characters can be shown.
    """
    for curves in report.curves:
        history = curves.history
        borders = [
            (stretch.begun_at, session_label(stretch, number))
            for number, stretch in enumerate(history.stretches, start=1)
        ]
        for metric in curves.metrics:
            points = history.points(metric)
            title = f"{history.scenario}: {metric_title(metric)}, {_number(points[-1][1])} at {points[-1][0]:,} steps"
            chart = Chart(title, points, [b for b in borders if b[0] <= points[-1][0]], steps_title())
            heading, *lines = draw(chart, width=width, signs=UNICODE if braille else ASCII)
            yield text.strong(heading)
            yield from lines
            yield ""
    yield from _notes(report)
    yield summary(report)
    left = sorted({name for each in report.curves for name in each.history.metrics} - _drawn(report))
    if left:
        yield text.dim("more with --metric: " + ", ".join(left))


def _drawn(report: PlotReport) -> set[str]:
    return {name for each in report.curves for name in each.metrics}


def summary(report: PlotReport) -> str:
    """Return in a sentence how far everything is."""
    parts = []
    for curves in report.curves:
        history = curves.history
        target = f" of {history.target:,}" if history.target else ""
        done = f"{history.rows[-1].num_timesteps:,}{target} steps"
        parts.append(f"{history.scenario}: {done} in {text.count(len(history.stretches), 'session')}")
    return "; ".join(parts)


def table(report: PlotReport) -> Iterator[Line]:
    """Return a line for each metric: how many points, its first, newest, lowest and highest value."""
    several = len(report.curves) > 1
    rows: list[Sequence[Part]] = []
    for curves in report.curves:
        for name in curves.history.metrics:
            values = [y for _x, y in curves.history.points(name)]
            numbers = (values[0], values[-1], min(values), max(values))
            scenario = [curves.history.scenario] if several else []
            rows.append((*scenario, name, str(len(values)), *map(_number, numbers)))
    head = (*(["scenario"] if several else []), "metric", "points", "first", "newest", "lowest", "highest")
    yield from text.table(head, rows, right=range(len(head) - 5, len(head)))
    yield from _notes(report)


def title(report: PlotReport) -> str:
    """Return the heading of a picture."""
    if len(report.curves) > 1:
        return report.target
    scenario = report.curves[0].history.scenario
    return summary(report) if report.target in (scenario, ".") else f"{report.target} · {summary(report)}"


def _notes(report: PlotReport) -> Iterator[Line]:
    for note in report.notes:
        yield [text.warn("note: "), note]


def _number(value: float) -> str:
    return (
        f"{value:,.0f}"
        if value == int(value) and abs(value) < 1e15
        else f"{value:,.4g}"
        if abs(value) < 1e4
        else f"{value:,.1f}"
    )
