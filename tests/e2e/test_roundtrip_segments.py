"""Whole trips of a kernel whose sets share segments, without torch, on the local runner, through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptsync.core import names, sets

COMMAND = [sys.executable, "-m", "ckptsync"]
# 10 rows a step; every set needs the rows of the last 100 steps, its newest ones in a segment of its own
KERNEL = """
import hashlib

from ckptsync.training import TrainingSession
from ckptsync.training.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip
from ckptsync.training.writer import Draft, Member


class Rows:
    def __init__(self, start, end):
        self.start, self.end = start, end

    def write(self, file):
        for row in range(self.start, self.end):
            file.write(hashlib.sha256(str(row).encode()).digest())


def train(scenario):
    steps = scenario.begin(mlp_signature(mlp_parameters()))
    newest = scenario.newest()
    kept = list(newest.segments) if newest else []
    sealed_at = steps

    def sealed(files):
        nonlocal kept, sealed_at
        kept = [entry for entry in files if entry.role == "segment"]
        sealed_at = int(kept[-1].path.split("-")[1]) // 10

    def draft(steps):
        write = lambda file: write_sb3_zip(file, mlp_parameters(seed=steps), num_timesteps=steps)
        old = [entry for entry in kept if int(entry.path.split("-")[1]) > (steps - 100) * 10]
        new = [Rows(sealed_at * 10, steps * 10)] if steps > sealed_at else []
        return Draft(steps, [Member("model", "zip", write)], segments=[*old, *new], sealed=sealed)

    while True:
        cause = scenario.course.clean_point(steps, lambda steps=steps: draft(steps), {"ep_rew_mean": float(steps)})
        if cause is not None:
            scenario.course.end(cause, steps, {})
            return
        if steps == scenario.params.get("crash_at"):
            raise RuntimeError("crashed, as told")
        steps += 10


with TrainingSession.from_environment(scenario="toy", total_timesteps=1000) as session:
    for scenario in session.scenarios:
        train(scenario)
"""


def call(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json`; return its exit code and its object."""
    done = subprocess.run([*COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose kernel makes segments."""
    assert call(tmp_path, "init", "--kernel", "toy")[0] == 0
    (tmp_path / "kernels/toy/train.py").write_text(KERNEL)
    return tmp_path


def head(checkpoints: Path) -> int:
    return int(json.loads((checkpoints / "toy_head.json").read_text())["num_timesteps"])


def assert_whole(checkpoints: Path) -> None:
    """Every set is sealed and whole, and nobody's segment lies there."""
    needed = set()
    for stored in sets.scan(checkpoints):
        assert stored.manifest is not None
        assert stored.manifest.segments
        assert sets.check_files(checkpoints, stored.manifest) == ()
        needed |= {entry.path for entry in stored.manifest.segments}
        rows = [names.check_segment("toy", entry.path) for entry in stored.manifest.segments]
        assert [part.start for part in rows[1:]] == [part.end for part in rows[:-1]]
        assert rows[-1].end == stored.num_timesteps * 10
    assert {f"toy_replay/{path.name}" for path in (checkpoints / "toy_replay").iterdir()} == needed


def test_sets_that_share_segments_make_the_whole_trip(project: Path) -> None:
    checkpoints = project / "data/models/checkpoints"
    code, value = call(project, "launch", "--steps", "200")
    assert (code, head(checkpoints)) == (0, 200), value
    assert_whole(checkpoints)
    code, value = call(project, "launch", "--set", "crash_at=350")
    assert (code, head(checkpoints)) == (7, 350), value
    assert_whole(checkpoints)
    code, value = call(project, "launch", "--steps", "200")
    assert (code, head(checkpoints)) == (0, 550), value
    assert_whole(checkpoints)
    assert call(project, "verify")[1]["verdict"] == "restorable"
    assert call(project, "verify", "toy/s0003")[1]["verdict"] == "restorable"
    newest = sets.newest(sets.scan(checkpoints), "toy")[0].manifest
    assert newest is not None
    damaged = checkpoints / newest.segments[-1].path
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    code, value = call(project, "verify")
    assert (code, value["verdict"]) == (4, "corrupt")
    assert call(project, "restore")[0] == 0
    assert_whole(checkpoints)
    assert call(project, "restore", "--undo")[0] == 0
    assert head(checkpoints) == 350
    assert_whole(checkpoints)
