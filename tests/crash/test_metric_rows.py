"""SIGKILL in the middle of training: every row that was written is there, and the next session goes on behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptsync.core.history import join
from ckptsync.core.metrics import parse_metrics

_TRAIN = """
import sys
from pathlib import Path
from ckptsync.core.metrics import Stretch
from ckptsync.training import metrics
from ckptsync.training.progress import SessionProgress
from ckptsync.training.screen import Limits

metrics._ROW_SECONDS = (0.0, 0.0)  # a row at every step
begun = int(sys.argv[1])
shown = SessionProgress({"a": 10**9}, {}, Limits(), Path("metrics.jsonl"), terminal=False)
scenario = shown.begin(Stretch("a", begun, lineage="l", generation=int(sys.argv[2])))
for steps in range(begun + 1, 10**9):
    scenario.update(steps, {"x": float(steps)})
    print(steps, flush=True)
"""


@pytest.mark.parametrize("rows", [1, 3, 20, 57])
def test_a_kill_loses_no_row_that_was_written(tmp_path: Path, rows: int) -> None:
    begun = 0
    for generation in (1, 2):
        words = [sys.executable, "-c", _TRAIN, str(begun), str(generation)]
        process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        newest = begun
        for _ in range(rows):
            newest = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        stretches, _senseless = parse_metrics((tmp_path / "metrics.jsonl").read_bytes())
        steps = [x for x, _y in join(stretches, stretches[-1]).points("x")]
        assert len(stretches) == generation
        assert steps[: newest - begun] == list(range(begun + 1, newest + 1))
        assert steps == sorted(set(steps))
        begun = newest
