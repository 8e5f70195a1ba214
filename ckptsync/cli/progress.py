"""Progress on stderr: a bar on a terminal, elsewhere one line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.units import size_text
from ..sync.reporting import Meter
from . import text
from .output import Output

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """Tells what the verbs are doing; the `Reporter` that ckptsync.sync asks for.

    Args:
        output: where it goes.
        clock: seconds that only grow.
        bar_delay: what takes fewer seconds gets no bar.
    """

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic, bar_delay: float = 0.5) -> None:
        self._output = output
        self._clock = clock
        self._bar_delay = bar_delay
        self._bars: list[tqdm[Any]] = []

    def line(self, text: str) -> None:
        """Say what is going on."""
        with self._bars_aside():
            self._output.log(text)

    def warn(self, text: str) -> None:
        """Say what people should look at."""
        with self._bars_aside():
            self._output.warn(text)

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str = "B") -> Iterator[Meter]:
        """Show how far something is.

        Args:
            label: what is being done.
            total: where it ends, in `unit`; None when that is not known.
            unit: "B" for bytes, or what is counted.
        """
        if self._output.quiet or self._output.as_json or not self._output.terminal:
            yield _Lines(self, label, total, unit, self._clock)
            return
        from tqdm import tqdm

        with tqdm(
            total=total,
            desc=text.escape(label),
            unit=unit if unit == "B" else f" {unit}",
            unit_scale=unit == "B",
            leave=False,
            delay=self._bar_delay,
            file=self._output.err,
        ) as bar:
            self._bars.append(bar)
            try:
                yield _Bar(bar)
            finally:
                self._bars.remove(bar)

    @contextmanager
    def _bars_aside(self) -> Iterator[None]:
        for bar in self._bars:
            bar.clear()
        yield
        for bar in self._bars:
            bar.refresh()


class _Bar:
    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar = bar

    def advance(self, amount: int) -> None:
        self._bar.update(amount)

    def set(self, position: int) -> None:
        self._bar.update(position - self._bar.n)

    def expect(self, total: int) -> None:
        self._bar.total = total
        self._bar.refresh()

    def note(self, text_: str) -> None:
        shown = text.escape(text_).replace("{", "{{").replace("}", "}}")
        self._bar.bar_format = "{desc} {percentage:3.0f}%|{bar:20}| {n:,.0f}/{total:,.0f}{unit} · " + shown


class _Lines:
    def __init__(
        self, reporter: Reporter, label: str, total: int | None, unit: str, clock: Callable[[], float]
    ) -> None:
        self._reporter = reporter
        self._label = label
        self._total = total
        self._unit = unit
        self._clock = clock
        self._position = 0
        self._note = ""
        self._told = clock()

    def advance(self, amount: int) -> None:
        self.set(self._position + amount)

    def set(self, position: int) -> None:
        self._position = position
        now = self._clock()
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            self._reporter.line(f"{self._label}: {self._amount(position)}{self._share()}{self._note}")

    def expect(self, total: int) -> None:
        self._total = total

    def note(self, text: str) -> None:
        self._note = f" · {text}" if text else ""

    def _amount(self, number: int) -> str:
        return size_text(number) if self._unit == "B" else f"{number:,} {self._unit}"

    def _share(self) -> str:
        return f" of {self._amount(self._total)} ({100 * self._position // self._total} %)" if self._total else ""
