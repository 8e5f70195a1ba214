"""Fetching what a session left, beside `kaggle kernels output`: the same service on loopback, 20 ms of latency.

The official client is unmodified and knows only port 80 of this machine, so this needs to be root and that port free.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timing import heading, ratio, row

from ckptsync.testing.kaggle import Fault, KaggleService

_LATENCY_SECONDS = 0.02
_REPEATS = int(os.environ.get("CKPTSYNC_BENCH_REPEATS", "2"))
_BIN = Path(sys.executable).parent
_CONFIG = """
[runs.{name}]
runner = "kaggle"
packages = []
total_timesteps = 1

[runs.{name}.kaggle]
poll_first = 0.1
"""
_SCRIPT = """
import os, pathlib
folder = pathlib.Path("data")
folder.mkdir()
for number in range({files}):
    (folder / f"{{number:05}}.bin").write_bytes(os.urandom({size}))
"""


@dataclass(frozen=True)
class Ran:
    """What a process took."""

    seconds: float
    peak_bytes: int


def main() -> int:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            service = KaggleService(Path(folder, "service"), port=80)
        except OSError as error:
            print(f"bench_fetch is left out: the official client knows port 80 alone, and it is not to be had: {error}")
            return 0
        with service:
            _compare(service, Path(folder), "small", 2_000, 10_000, goal=8)
            _compare(service, Path(folder), "large", 20, 50 << 20, goal=1.2)
            _drops(service, Path(folder))
    return 0


def _compare(service: KaggleService, folder: Path, name: str, files: int, size: int, *, goal: float) -> None:
    project = _session(service, folder / name, name, files, size)
    service.settings.latency_seconds = _LATENCY_SECONDS
    theirs = folder / f"{name}-official"
    ours: list[Ran] = []
    official: list[Ran] = []
    for _ in range(_REPEATS):
        _forget(project)
        ours.append(_run([_BIN / "ckptsync", "fetch", "--quiet"], project, service))
        shutil.rmtree(theirs, ignore_errors=True)
        theirs.mkdir()
        words = [_BIN / "kaggle", "kernels", "output", f"tester/ckptsync-{name}", "-p", theirs]
        official.append(_run(words, folder, service))
    service.settings.latency_seconds = 0.0
    same = _digests(project / "results" / name / "s0001" / "data") == _digests(theirs / "data")
    heading(f"{files} files of {size / 1000:,.0f} kB, {_LATENCY_SECONDS * 1000:.0f} ms of latency, best of {_REPEATS}")
    best, other = min(ours, key=lambda ran: ran.seconds), min(official, key=lambda ran: ran.seconds)
    row(
        "ckptsync fetch, sha256 included", f"{best.seconds:.2f} s, {best.peak_bytes / 1e6:.0f} MB", "goal: under 100 MB"
    )
    row("kaggle kernels output", f"{other.seconds:.2f} s, {other.peak_bytes / 1e6:.0f} MB")
    row("both got the same bytes", same)
    ratio("times as fast", other.seconds / best.seconds, f"at least {goal:g}")
    shutil.rmtree(theirs)
    shutil.rmtree(project)


def _drops(service: KaggleService, folder: Path) -> None:
    """Cut downloads in their middle, and count what had to come again."""
    files, size = 40, 5 << 20
    heading(f"{files} files of {size / 1e6:.1f} MB, 40 % of the answers cut in their middle")
    closed = (Fault.TRUNCATED, Fault.TRUNCATED_BARE)
    # What a reset destroys on its way was sent and never came, so this counts more as fetched again than it is
    for name, kinds, goal in (("closed", closed, "at most 1.1"), ("reset", (Fault.DROP_IN,), "none: see the source")):
        project = _session(service, folder / name, name, files, size)
        before = len(service.requests)
        service.faults.rate(0.4, seed=1, kinds=kinds, names=["download"])
        ran = _run([_BIN / "ckptsync", "fetch", "--quiet"], project, service)
        service.faults.clear()
        cuts = lost = again = 0
        seen: set[str] = set()
        for call in service.requests[before:]:
            if call.name == "download" and call.path.endswith(".bin"):
                cuts += call.fault in kinds
                if call.path in seen:
                    again += call.sent
                elif call.fault in kinds:
                    seen.add(call.path)
                    lost += size - call.sent
        row(f"ckptsync fetch, connections {name}", f"{ran.seconds:.2f} s, {cuts} cuts")
        ratio("bytes fetched again / bytes lost", again / max(lost, 1), goal)


def _session(service: KaggleService, project: Path, name: str, files: int, size: int) -> Path:
    """Let a session leave files, and return its project."""
    kernel = project / "kernels" / name
    kernel.mkdir(parents=True)
    (kernel / "train.py").write_text(_SCRIPT.format(files=files, size=size))
    (project / "ckptsync.toml").write_text(_CONFIG.format(name=name))
    _run([_BIN / "ckptsync", "launch", "--detach", "--quiet"], project, service)
    run = service.run(f"tester/ckptsync-{name}")
    if not run.wait(600) or run.status[0] != "complete":
        raise RuntimeError(f"the session of {name} ended as {run.status}")
    return project


def _forget(project: Path) -> None:
    shutil.rmtree(project / "results", ignore_errors=True)
    for record in (project / ".ckptsync").rglob("downloads.json"):
        record.unlink()


def _run(words: list[str | Path], folder: Path, service: KaggleService) -> Ran:
    """Run a command with a home of its own; return its time and peak memory."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "NO_PROXY": "*",
        **service.environment(),
    }
    with (folder / "printed").open("wb") as printed:
        started = time.perf_counter()
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{words[0]} ended with {process.returncode}:\n{(folder / 'printed').read_text()[-2000:]}")
    return Ran(seconds, usage.ru_maxrss * 1024)


def _digests(folder: Path) -> dict[str, str]:
    return dict(_digest_of_each(folder))


def _digest_of_each(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        with path.open("rb") as file:
            yield path.name, hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
