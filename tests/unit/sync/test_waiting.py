"""What `wait` tells while a session runs, and how its log is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.projects import Script, Told

from ckptsync.core.errors import ConfigError, CredentialsError
from ckptsync.runners.base import SessionState, SessionStatus
from ckptsync.sync import control, launch
from ckptsync.sync.contact import contact_of
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import find_record
from ckptsync.sync.wait import wait

SESSION = "a/s0001"
LOG = (
    "begins\n"
    "[TRAIN] a 100/1,000 steps · reward 1.0 · 9:00 to the target\n"
    "[TRAIN] a 200/1,000 steps · reward 2.0 · 8:00 to the target\n"
    "a line of its own \x1b[31m\n"
    "[TRAIN] b 10/500 steps · run 1,010/1,500 · reward 0.1\n"
    "last".encode()
)


class Watched(Told):
    """A reporter that also remembers what was shown as progress."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[object] = []

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str = "B") -> Iterator[Watched]:
        """Remember what is shown."""
        self.shown.append((label, total, unit))
        yield self
        self.shown.append("closed")

    def set(self, position: int) -> None:
        """Remember the position."""
        self.shown.append(position)

    def note(self, text: str) -> None:
        """Remember what stands beside it."""
        self.shown.append(text)


@pytest.fixture
def running(bench):
    """A session that runs for some looks, and prints meanwhile."""
    bench.runner.script = Script(state=SessionState.RUNNING)
    launch.start(bench.project, launch.plan(bench.project, bench.run, LaunchOptions()), bench.told)
    bench.looks = 0

    def status(handle):
        bench.looks += 1
        state = SessionState.COMPLETE if bench.looks > 5 else SessionState.RUNNING
        return SessionStatus(state, "as scripted", seconds=5.0)

    bench.runner.status = status
    bench.runner.log = lambda handle, offset=0: LOG[offset : bench.looks * 60][:17]
    return bench


def test_progress_is_shown_and_lines_are_told(running):
    told = Watched()
    status = wait(running.project, SESSION, reporter=told, sleep=lambda seconds: None)
    assert status.state is SessionState.COMPLETE
    assert find_record(running.project, SESSION).stage == "finished"
    assert told.lines == [
        "  | begins",
        "  | [TRAIN] a 100/1,000 steps · reward 1.0 · 9:00 to the target",
        "  | a line of its own \x1b[31m",
        "  | [TRAIN] b 10/500 steps · run 1,010/1,500 · reward 0.1",
        "  | last",
    ]
    assert told.shown == [
        (SESSION, 1000, "steps"),
        *("reward 1.0 · 9:00 to the target", 100),
        *("reward 2.0 · 8:00 to the target", 200),
        *("reward 0.1", 1010),
        "closed",
    ]


def test_a_log_is_followed_to_its_end_in_pieces(running):
    *parts, end = control.read_log(running.project, SESSION, running.told, follow=True, sleep=lambda seconds: None)
    assert b"".join(part.data for part in parts) == LOG
    assert max(len(part.data) for part in parts) == 17
    assert (end.ended, end.next_offset) == (True, len(LOG))


def test_a_log_of_a_running_session_is_read_as_far_as_it_is(running):
    *parts, end = control.read_log(running.project, SESSION, running.told)
    assert (b"".join(part.data for part in parts), end.ended) == (LOG[:60], False)


def test_a_refusal_leaves_the_session_as_it_is_and_says_how_to_go_on(running):
    def status(handle):
        raise CredentialsError("the token has expired", hint="ckptsync doctor")

    running.runner.status = status
    with pytest.raises(CredentialsError):
        wait(running.project, SESSION, reporter=running.told)
    assert running.told.warnings == ["a/s0001 is left as it is; 'ckptsync wait a' goes on with it"]
    assert find_record(running.project, SESSION).stage == "started"


def test_how_a_runner_is_asked_is_configured(bench):
    config = (bench.project.root / "ckptsync.toml").read_text()
    assert contact_of(bench.project, "scripted").poll_longest == 60
    assert contact_of(bench.project, "local").poll_longest == 1
    bench.reload(f'{config}\n[runners.kaggle]\npoll_longest = "2m"\n[runs.a.kaggle]\nfetch_at_once = 3\n')
    assert contact_of(bench.project, "kaggle", "a").poll_longest == 120
    assert contact_of(bench.project, "kaggle", "a").fetch_at_once == 3
    assert contact_of(bench.project, "kaggle").fetch_at_once == 16
    for line, said in (
        ("fetch_at_once = 1000", "at most 64"),
        ('poll_first = "2m"', "more than poll_longest"),
        ('wait_patience = "long"', "wait_patience: expected seconds"),
    ):
        bench.reload(f"{config}\n[runners.kaggle]\n{line}\n")
        with pytest.raises(ConfigError, match=said):
            contact_of(bench.project, "kaggle")
