"""A training that is cut three times ends like one that was never cut: equal to the bit.

The uncut run is plain stable-baselines3 without any of ckptsync. Each session of the cut run is a process of
its own; the sessions end at random steps, most of them abruptly. Compared are parameters, optimizers, target
networks, entropy coefficients, VecNormalize statistics, replay rows, evaluations, the state of callbacks, the
rows of the training's log, and the random generators at the end.

`make prove` runs every combination, the other tests a sample.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import figures
from support.exact_cases import CASES
from support.exact_results import compare
from support.exact_worker import CUTS, end_of

SEED = "1"
TESTS = Path(__file__).parents[1]


def sample() -> list[str]:
    """A few combinations: one each of the cheap families, and one with workers."""
    draw = random.Random(SEED)
    families = ("ppo", "a2c", "dqn", "sac", "td3")
    drawn = [draw.choice([name for name in CASES if name.startswith(family)]) for family in families]
    return [*drawn, "ppo-workers"]


def run(folder: Path, seed: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Run all sessions of some combinations, each session in a process of its own; return what was observed."""
    command = [sys.executable, "-m", "support.exact_worker", str(folder), seed, *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def prove(folder: Path, seed: str, names: Sequence[str], *, at_once: int) -> None:
    """Run combinations, some at once, and compare; every difference is told at the end."""
    with ThreadPoolExecutor(at_once) as pool:
        parts = list(pool.map(lambda first: run(folder, seed, names[first::at_once]), range(at_once)))
    seen = [observed for part in parts for observed in part]
    wrong = []
    for name in names:
        mine = [observed for observed in seen if observed["case"] == name]
        for observed in mine:
            expected = end_of(name, seed, observed["session"])
            if observed["status"] != expected:
                log = (folder / name / f"session-{observed['session']}.log").read_text()[-1500:]
                wrong.append(f"{name}: session {observed['session']} left with {observed['status']}\n{log}")
            if observed.get("resumed", "exact") != "exact":
                wrong.append(f"{name}: session {observed['session']} says {observed['resumed']}: {observed['reasons']}")
        try:
            arrays, largest, differing = compare(folder / name / "uncut.npz", folder / name / "cut.npz")
        except FileNotFoundError as error:
            wrong.append(f"{name}: {error}")
            continue
        if differing:
            wrong.append(f"{name}: largest difference {largest}, in {differing[:8]}")
        resumed = sum("resumed" in observed for observed in mine)
        if not resumed:
            wrong.append(f"{name}: no session has resumed, so nothing is proved")
        figures.record(name, cuts=CUTS, resumed=resumed, compared=arrays, different=len(differing))
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(900)
def test_a_sample_of_cut_trainings_equals_uncut_ones(fast_folder: Path) -> None:
    prove(fast_folder, SEED, sample(), at_once=1)


@pytest.mark.prove
@pytest.mark.timeout(3_600)
def test_every_cut_training_equals_an_uncut_one(fast_folder: Path) -> None:
    assert len(CASES) >= 60
    prove(fast_folder, SEED, list(CASES), at_once=2)
