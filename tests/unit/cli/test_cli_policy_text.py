"""How a policy reads."""

from __future__ import annotations

import pytest

from ckptsync.cli import policy_text
from ckptsync.cli.text import plain
from ckptsync.core.forecast import Forecast
from ckptsync.core.session import AUTO, SavePolicy
from ckptsync.sync.room import ScenarioRoom


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (SavePolicy(), "saves every 10,000 steps, every 3 min, on a new best, and at the end"),
        (SavePolicy(every_steps=None, every_seconds=None, save_best=False), "saves at the end only"),
        (
            SavePolicy(every_steps=None, every_seconds=AUTO, save_best=False),
            "saves as often as pays (failures every 12 h, overhead up to 2 %), and at the end",
        ),
    ],
)
def test_when_it_saves(policy: SavePolicy, said: str) -> None:
    assert policy_text.saving(policy) == said


def test_what_it_keeps() -> None:
    assert policy_text.keeping(SavePolicy()) == "keeps the newest 5, the best, and final ones"
    policy = SavePolicy(keep_last=2, keep_best=3, keep_every_steps=100_000)
    assert policy_text.keeping(policy) == "keeps the newest 2, the best 3, one of every 100,000 steps, and final ones"


def test_what_it_needs() -> None:
    room = ScenarioRoom("a", 1_000_000, Forecast(5_000_000, 8_000_000, 10**9, 5))
    [line] = policy_text.needing(room)
    assert plain(line) == (
        "  a: a checkpoint of 1.0 MB; the training tree will grow by 5.0 MB to 8.0 MB, 1.0 GB are free"
    )
    [unknown] = policy_text.needing(ScenarioRoom("a"))
    assert "after the first one" in plain(unknown)
