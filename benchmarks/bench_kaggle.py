"""Machine time of a session on Kaggle: dispatch and collect as processes, each in an empty clone, 20 ms from the service."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import heading, row

from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.kaggle.toy import TOY_RUN

_CKPTSYNC = Path(sys.executable).with_name("ckptsync")
_LATENCY_SECONDS = 0.02
_SESSIONS = 4
_CONFIG = TOY_RUN.format(every_steps=50)


class Bench:
    """Commands against a service.

    Args:
        folder: empty.
        service: runs already.
    """

    def __init__(self, folder: Path, service: KaggleService) -> None:
        self._folder = folder
        self._code = folder / "code"
        self._service = service
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {**environment, **service.environment(), "HOME": str(folder)}
        self.run("init", "--kernel", "toy", str(self._code), where=folder)
        (self._code / "ckptsync.toml").write_text(_CONFIG)

    def run(self, *words: str, where: Path | None = None) -> float:
        """Run a command, without `where` in a clone that has nothing but the code; return its seconds."""
        clone = where or Path(shutil.copytree(self._code, tempfile.mkdtemp(dir=self._folder), dirs_exist_ok=True))
        started = time.perf_counter()
        done = subprocess.run([_CKPTSYNC, *words], cwd=clone, capture_output=True, text=True, env=self._environment)
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return seconds

    def end(self) -> None:
        """Wait until the newest session has ended."""
        if not self._service.runs()[-1].wait(60):
            sys.exit("the session does not end")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        away = Path(folder, "service")
        away.mkdir()
        with KaggleService(away, latency_seconds=_LATENCY_SECONDS) as service:
            bench = Bench(Path(folder), service)
            dispatches, collects = [], []
            for _ in range(_SESSIONS):
                dispatches.append(bench.run("dispatch", "--steps", "200"))
                bench.end()
                collects.append(bench.run("collect"))
            bench.run("dispatch", "--set", "pause=0.5")
            running = [bench.run("collect") for _ in range(_SESSIONS)]
            service.runs()[-1].kill()
    heading(f"A session of the toy kernel on Kaggle, each command in an empty clone ({_SESSIONS} sessions)")
    row("dispatch", _told(dispatches))
    row("collect of a session that has ended", _told(collects))
    both = [first + second for first, second in zip(dispatches, collects, strict=True)]
    row("both", _told(both), "goal: under 60 s")
    row("collect while a session runs", _told(running), "goal: under 3 s")


def _told(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
