"""A plot as a PNG file, drawn by matplotlib, which is imported when it is needed."""

from __future__ import annotations

import io
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from .plot_text import metric_title, session_label, steps_title

if TYPE_CHECKING:
    from ..sync.plot import Curves

# Okabe and Ito's palette: told apart with every kind of colour blindness.
# Source: M. Okabe, K. Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BORDER = "#777777"
_PANEL_INCHES = (9.0, 2.9)
_HEAD_INCHES = 0.9
_DOTS_PER_INCH = 150
# As a part of the width: a label that is nearer to the one before it is left out
_LABEL_ROOM = 0.035
# More points than this get a line of their means, each over this part of them
_DENSE = 300
_WINDOWS = 50


def png(title: str, curves: tuple[Curves, ...]) -> bytes:
    """Draw a panel for each metric, a column for each scenario, and return the bytes of the file.

    Args:
        title: what is drawn.
        curves: of each scenario.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"a picture needs matplotlib, which cannot be imported: {error}",
            hint="pip install 'ckptsync[plot]'; without --output the plot is drawn in the terminal",
        ) from None
    metrics = list(dict.fromkeys(name for each in curves for name in each.metrics))
    width, height = _PANEL_INCHES
    width = width if len(curves) == 1 else width * 0.72 * len(curves)
    figure = Figure(figsize=(width, height * len(metrics) + _HEAD_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(title), fontsize=13)
    panels: Any = figure.subplots(len(metrics), len(curves), squeeze=False, sharex="col")
    for column, each in enumerate(curves):
        for row, metric in enumerate(metrics):
            panel = panels[row][column]
            _draw(panel, each, metric, colour=_COLOURS[row % len(_COLOURS)], labels=row == 0)
            if row == 0 and len(curves) > 1:
                panel.set_title(_plain(each.history.scenario), fontsize=11, pad=30)
        panels[-1][column].set_xlabel(steps_title(), fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
    return file.getvalue()


def _draw(panel: Any, curves: Curves, metric: str, *, colour: str, labels: bool) -> None:
    from matplotlib.ticker import StrMethodFormatter

    points = curves.history.points(metric)
    steps, values = [x for x, _y in points], [y for _x, y in points]
    window = len(points) // _WINDOWS
    if len(points) <= _DENSE:
        panel.plot(steps, values, color=colour, linewidth=1.6, marker=None if len(points) > 1 else "o")
    else:  # what is recorded stays to be seen behind its course
        panel.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
        panel.plot(steps, _means(values, window), color=colour, linewidth=1.8, label=f"mean of {window} points")
        panel.legend(loc="best", fontsize=8, frameon=False)
    panel.set_ylabel(_plain(metric_title(metric, short=True)), fontsize=10)
    panel.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if max((abs(y) for _x, y in points), default=0.0) >= 1000:
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    rows = curves.history.rows
    begin, end = curves.history.stretches[0].begun_at, rows[-1].num_timesteps
    span = max(end - begin, 1)
    panel.set_xlim(begin - 0.01 * span, end + 0.01 * span)
    placed = float("-inf")
    for number, stretch in enumerate(curves.history.stretches, start=1):
        panel.axvline(stretch.begun_at, color=_BORDER, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        place = (stretch.begun_at - begin) / span
        if labels and place - placed >= _LABEL_ROOM:
            placed = place
            panel.annotate(
                _plain(session_label(stretch, number)),
                (stretch.begun_at, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                rotation=45,
                fontsize=8,
                color="#444444",
            )


def _means(values: list[float], window: int) -> list[float]:
    """Return the mean around each value; near the ends of as many as there are."""
    sums = [0.0, *accumulate(values)]
    ranges = [(max(i - window // 2, 0), min(i + window // 2 + 1, len(values))) for i in range(len(values))]
    return [(sums[end] - sums[begin]) / (end - begin) for begin, end in ranges]


def _plain(text: str) -> str:
    # A dollar sign would begin a formula, which a name from outside need not be
    return text.replace("$", r"\$")
