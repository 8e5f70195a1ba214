"""Real SB3 sessions, killed at random in learning, evaluation, a step, an update, a save: all restorable, little lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import figures, kills

_ALL = 200
_SAMPLE = 8
_SEED = 20261122


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_sample_of_kills_loses_little_and_tears_nothing(fast_folder: Path) -> None:
    with kills.server() as server:
        for algorithm in kills.ALGORITHMS:
            folder = fast_folder / algorithm
            folder.mkdir()
            chain = kills.Chain(server, algorithm, folder)
            for kill in kills.draw(_SEED, algorithm, _SAMPLE // len(kills.ALGORITHMS), stuck_every=_ALL):
                chain.kill(kill)
            chain.finish()


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("algorithm", kills.ALGORITHMS)
def test_two_hundred_kills_lose_little_and_tear_nothing(algorithm: str, fast_folder: Path) -> None:
    every = list(kills.draw(_SEED, algorithm, _ALL // len(kills.ALGORITHMS), stuck_every=12))
    with kills.server() as server:
        chain = kills.Chain(server, algorithm, fast_folder)
        for kill in every:
            chain.kill(kill)
        chain.finish()
    for phase in kills.PHASES:
        struck = [(kill, lost) for kill, lost in zip(every, chain.lost, strict=True) if kill.phase == phase]
        figures.record(
            f"random kills: {algorithm}, {phase}",
            kills=len(struck),
            restorable=len(struck),
            SIGKILL=sum(kill.signal == kills.signal.SIGKILL for kill, _ in struck),
            lost_steps=sum(lost for _, lost in struck),
        )
