"""A loop without torch in this process, for tests of everything that is no SB3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ckptsync.core.session import read_events
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip
from ckptsync.training import Scenario, TrainingSession

Write = Callable[[BinaryIO], None]


def model_writer(num_timesteps: int, *, seed: int | None = None, hidden: tuple[int, ...] = (8, 8)) -> Write:
    """Return what writes the model of a moment; equal seeds give equal weights."""

    def write(file: BinaryIO) -> None:
        parameters = mlp_parameters(hidden=hidden, seed=num_timesteps if seed is None else seed)
        write_sb3_zip(file, parameters, num_timesteps=num_timesteps, hidden=hidden)

    return write


def loop(scenario: Scenario, *, step: int = 10, at: Callable[[int], None] = lambda steps: None) -> str:
    """Train a scenario to its end in this session; `at` is called behind every clean point."""
    steps = scenario.begin()
    while True:
        if (cause := scenario.clean_point(steps, model_writer(steps), metrics={"ep_rew_mean": 1.0})) is not None:
            return cause
        at(steps)
        steps += step


def train(tree: Path, target: int, *, scenario: str = "a", **arguments: Any) -> str:
    """Run one session of one scenario."""
    with TrainingSession(tree, scenario, target, **arguments) as session:
        return loop(session.scenario)


def events(kind: str | None = None) -> list[dict[str, Any]]:
    """Return the events of the last session in the current folder."""
    found = read_events(Path("events.jsonl"))
    return [event for event in found if kind in (None, event["event"])]
