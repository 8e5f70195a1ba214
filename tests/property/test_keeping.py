"""Retention along any course of saves, crashes, new sessions, tight disks and damage, with real files."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support import figures
from support.keeping import KeepingMachine

_PROOF = {"examples": 460, "steps": 50}


def _run(examples: int, steps: int) -> None:
    course = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(KeepingMachine, settings=course)


def test_what_must_stay_is_there_after_every_step() -> None:
    _run(examples=6, steps=15)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_what_must_stay_is_there_after_each_of_20_000_steps() -> None:
    KeepingMachine.steps = 0
    _run(**_PROOF)
    figures.record("retention: steps of its state machine", steps=KeepingMachine.steps, lost=0)
    assert KeepingMachine.steps >= 20_000
