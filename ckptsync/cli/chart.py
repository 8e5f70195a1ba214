"""A curve as text: points in braille, an axis with round numbers, the borders of sessions as dashed lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Eight points to a character: two across, four down, each with a bit of its own
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_MOST_TICKS = 6
_SPACE_BETWEEN_TICKS = 3
_NARROWEST = 20
# Of the range of values, above and below them
_ROOM = 0.04


@dataclass(frozen=True)
class Signs:
    """What a chart is drawn with."""

    border: str
    left: str
    tick: str
    below: str
    corner: str
    mark: str
    braille: bool


UNICODE = Signs("┊", "│", "┤", "─", "└", "┬", braille=True)
ASCII = Signs(":", "|", "+", "-", "+", "+", braille=False)


@dataclass(frozen=True)
class Chart:
    """One curve and what stands around it.

    Args:
        title: above it.
        points: (x, y), x rising.
        borders: (x, label), x not falling.
        x_label: below it.
    """

    title: str
    points: Sequence[tuple[int, float]]
    borders: Sequence[tuple[int, str]]
    x_label: str


def draw(chart: Chart, *, width: int = 80, height: int = 12, signs: Signs = UNICODE) -> list[str]:
    """Return the lines of a chart.

    Args:
        chart: what to draw.
        width: of the lines, in characters.
        height: of the plot area, in characters.
        signs: what to draw it with.
    """
    values = [y for _x, y in chart.points]
    low, high = _with_room(min(values), max(values))
    ticks = [tick for tick in nice_ticks(low, high, min(_MOST_TICKS, height // 2)) if low <= tick <= high]
    labels = tick_labels(ticks)
    margin = max(map(len, labels))
    area = _Area(
        left=min(chart.points[0][0], *(x for x, _label in chart.borders)) if chart.borders else chart.points[0][0],
        right=chart.points[-1][0],
        low=low,
        high=high,
        columns=max(width - margin - 2, _NARROWEST),
        rows=height,
    )
    rows = area.drawn(chart, signs)
    beside = {area.row_of(tick): label for tick, label in zip(ticks, labels, strict=True)}
    lines = [chart.title]
    if chart.borders:
        lines.append(" " * (margin + 2) + _labels([(area.column_of(x), label) for x, label in chart.borders], area))
    for number, row in enumerate(rows):
        label = beside.get(number, "")
        lines.append(f"{label:>{margin}} {signs.tick if label else signs.left}{row}")
    return [
        *lines,
        *(" " * (margin + 1) + line for line in _x_axis(area, signs)),
        _centred(chart.x_label, margin, area),
    ]


@dataclass(frozen=True)
class _Area:
    left: int
    right: int
    low: float
    high: float
    columns: int
    rows: int

    def across(self, x: float, size: int) -> int:
        span = self.right - self.left
        return round((x - self.left) / span * (size - 1)) if span else 0

    def down(self, y: float, size: int) -> int:
        return round((self.high - y) / (self.high - self.low) * (size - 1))

    def column_of(self, x: float) -> int:
        return self.across(x, self.columns)

    def row_of(self, y: float) -> int:
        return self.down(y, self.rows * 4) // 4

    def drawn(self, chart: Chart, signs: Signs) -> list[str]:
        cells = [[0] * self.columns for _row in range(self.rows)]
        places = [(self.across(x, self.columns * 2), self.down(y, self.rows * 4)) for x, y in chart.points]
        for before, after in zip([places[0], *places], places, strict=False):
            for column, row in _line(before, after):
                cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        borders = {self.column_of(x) for x, _label in chart.borders}
        return ["".join(_cell(dots, i in borders, signs) for i, dots in enumerate(row)).rstrip() for row in cells]


def _cell(dots: int, border: bool, signs: Signs) -> str:
    if dots:
        return chr(_BRAILLE | dots) if signs.braille else "*"
    return signs.border if border else " "


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * i / steps), round(start[1] + (end[1] - start[1]) * i / steps))
        for i in range(steps + 1)
    ]


def _labels(placed: Sequence[tuple[int, str]], area: _Area) -> str:
    """Return labels in one line, each beginning at its column; those without room are left out."""
    line = ""
    for column, label in placed:
        start = min(column, area.columns - len(label))
        if start >= 0 and (not line or start > len(line)):
            line = line.ljust(start) + label
    return line


def _x_axis(area: _Area, signs: Signs) -> tuple[str, str]:
    longest = len(f"{area.right:,}")
    wanted = max(2, area.columns // (longest + _SPACE_BETWEEN_TICKS))
    ticks = [
        tick for tick in nice_ticks(area.left, area.right, min(wanted, _MOST_TICKS)) if area.left <= tick <= area.right
    ]
    axis = [signs.below] * area.columns
    numbers = ""
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
        column = area.column_of(tick)
        start = min(max(column - len(label) // 2, 0), area.columns - len(label))
        if numbers and start <= len(numbers) + 1:
            continue
        axis[column] = signs.mark
        numbers = numbers.ljust(start) + label
    return signs.corner + "".join(axis), " " + numbers


def _centred(label: str, margin: int, area: _Area) -> str:
    return " " * (margin + 2) + label.center(area.columns).rstrip()


def _with_room(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * _ROOM or abs(low) / 2 or 1.0
    return low - room, high + room


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, about as many as wanted; one where both are equal."""
    if high <= low:
        return [low]
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return numbers with as many decimals as their distance asks for, and thousands separators."""
    if not ticks:
        return []
    step = min((b - a for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    largest = max(map(abs, ticks))
    if largest >= 1e12 or (0 < largest < 1e-4):
        return [f"{tick:.3g}" for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and not math.isclose(step * 10**decimals, round(step * 10**decimals)):
        decimals += 1
    return [f"{tick + 0.0:,.{decimals}f}" for tick in ticks]
