"""training.log: the session's own lines with their times, over sessions, never too large, never in the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.loops import train

from ckptsync.core.layout import TrainingTree
from ckptsync.training import log as training_log
from ckptsync.training.log import kept_in, log

PATH = Path("training.log")


def test_lines_are_printed_and_kept_with_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("one", "two · three"):
        with kept_in(PATH):
            log(text)
    log("not kept")
    assert capsys.readouterr().out == "one\ntwo · three\nnot kept\n"
    lines = PATH.read_text("utf-8").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines] == ["one", "two · three"]


def test_a_full_file_is_kept_once_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_log, "MAX_LOG_BYTES", 1000)
    with kept_in(PATH):
        for number in range(200):
            log(f"line {number}")
    older = Path("training.log.1")
    assert PATH.stat().st_size <= 1000
    assert older.stat().st_size <= 1000
    both = older.read_text() + PATH.read_text()
    numbers = [int(line.split()[-1]) for line in both.splitlines()]
    assert numbers == list(range(numbers[0], 200))
    assert sorted(path.name for path in Path().iterdir()) == ["training.log", "training.log.1"]


def test_a_file_that_cannot_be_written_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    PATH.mkdir()
    with kept_in(PATH):
        log("one")
        log("two")
    told = capsys.readouterr().out
    assert told.count("training goes on") == 1
    assert "one\n" in told
    assert "two\n" in told


def test_a_session_keeps_its_lines_and_the_next_goes_on(tree: TrainingTree) -> None:
    train(tree.root, 100)
    train(tree.root, 200)
    text = PATH.read_text()
    assert text.index("stops at 100/100 steps: target") < text.index("resuming from a_checkpoint_100_steps")
    assert "stops at 200/200 steps: target" in text


def test_what_ends_a_session_is_in_its_log(tree: TrainingTree) -> None:
    from ckptsync.training import TrainingSession

    with pytest.raises(RuntimeError), TrainingSession(tree.root, "a", 10) as session:
        session.scenario.begin()
        raise RuntimeError("the environment fell over")
    assert "the session ends: RuntimeError: the environment fell over" in PATH.read_text()
