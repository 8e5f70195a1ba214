"""Side by side in one run: commands are interleaved, so that a noisy machine disturbs all alike; ratios count."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of one thing over some repeats."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median * 1000:9.1f} ms  ({min(self.seconds) * 1000:.1f} to {max(self.seconds) * 1000:.1f})"


def interleaved(things: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time each thing `repeats` times, in turn; one untimed round goes first."""
    for thing in things.values():
        thing()
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(repeats):
        for name, thing in things.items():
            started = time.perf_counter()
            thing()
            seconds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def process(arguments: Sequence[str | Path], *, cwd: Path | None = None) -> Callable[[], object]:
    """Return a function that runs a command to its end; a failing one stops the benchmark."""
    words = [str(argument) for argument in arguments]
    # An installed package has its byte code; a checkout gets it in the untimed round, unless this forbids it
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> object:
        return subprocess.run(words, cwd=cwd, check=True, capture_output=True, env=environment)

    return run


def peak_memory(arguments: Sequence[str | Path], *, cwd: Path | None = None) -> int:
    """Return the peak resident memory of a command in bytes."""
    script = (
        "import json,resource,subprocess,sys;"
        "subprocess.run(json.loads(sys.argv[1]),check=True,stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024)"
    )
    words = json.dumps([str(argument) for argument in arguments])
    done = subprocess.run([sys.executable, "-c", script, words], cwd=cwd, check=True, capture_output=True, text=True)
    return int(done.stdout)


def heading(title: str) -> None:
    """Print a heading with the machine's name."""
    print(f"\n== {title}")


def machine() -> str:
    """Describe the machine in a line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def row(name: str, value: object, note: str = "") -> None:
    """Print one row of a table."""
    print(f"  {name:<52} {value!s:>34}  {note}".rstrip())


def ratio(name: str, value: float, goal: str) -> None:
    """Print a ratio beside its goal."""
    print(f"  {name:<52} {value:>34.2f}  goal: {goal}")


def own_peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
