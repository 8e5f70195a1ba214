"""The tool's own share of a local round trip: all but the training process, with the packed SB3 cached."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import heading, row

_CKPTSYNC = Path(sys.executable).with_name("ckptsync")
_REPEATS = 7


def main() -> None:
    """Print the table."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        words = [str(_CKPTSYNC), "init", "--kernel", "toy"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True, env=environment)
        whole: list[float] = []
        inside: list[float] = []
        for _ in range(_REPEATS + 1):
            started = time.perf_counter()
            words = [str(_CKPTSYNC), "launch", "--steps", "50", "--json"]
            done = subprocess.run(words, cwd=folder, check=True, capture_output=True, env=environment)
            whole.append(time.perf_counter() - started)
            session = json.loads(done.stdout)["session"]
            events = Path(folder, "results", session, "events.jsonl").read_text().splitlines()
            inside.append(_script_seconds([json.loads(line) for line in events]))
        heading(f"A round trip of the toy kernel with SB3 in the bundle ({_REPEATS} sessions, the first left out)")
        row("whole trip, as a process", f"{statistics.median(whole[1:]):.2f} s")
        row("of it the training script's process", f"{statistics.median(inside[1:]):.2f} s")
        own = [total - script for total, script in zip(whole[1:], inside[1:], strict=True)]
        row("the tool's own share", f"{statistics.median(own):.2f} s", "goal: under 1.5 s")


def _script_seconds(events: list[dict[str, object]]) -> float:
    return next(float(str(event["seconds"])) for event in events if event["event"] == "script")


if __name__ == "__main__":
    main()
