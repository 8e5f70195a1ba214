"""The relay: which sets of a session it sends, in which order, what stops it and what does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import sftp
from support.projects import CONFIG, Told, make_project, seal_set, set_head

from ckptsync.core.errors import CkptsyncError
from ckptsync.core.heads import Best
from ckptsync.core.layout import SESSION_INFO_NAME, TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import SessionSpec
from ckptsync.project.config import Project
from ckptsync.project.lineage import SessionRecord
from ckptsync.runners.base import SessionHandle
from ckptsync.runners.local_folder import ExitRecord, LocalFolder, StartRecord, SubmissionRecord
from ckptsync.store import open_store, opening
from ckptsync.store.asking import PATIENCE
from ckptsync.sync.ledgers import open_ledger
from ckptsync.sync.store import live
from ckptsync.sync.store.inbox import Inbox
from ckptsync.sync.store.relay import Relay

SESSION = "a/s0001"


class Machine:
    """A session on this machine as its folder shows it, whose training is this test.

    Args:
        root: of the project.
        url: of the store.
    """

    def __init__(self, root: Path, url: str, store: str = "") -> None:
        self.project: Project = make_project(root, f'{CONFIG}\n[store]\nurl = "{url}"\n{store}')
        self.url = url
        self.said: list[str] = []
        spec = SessionSpec("a", SESSION, "l0001-aaaaaa", 1, self.project.run("a").scenarios, live=True, relayed=True)
        handle = SessionHandle(SESSION, "local", {"generation": 1})
        ledger = open_ledger(self.project)
        ledger.append(
            "planned", run="a", session=SESSION, spec=spec.to_json(), runner="local", inputs=[], fell_back=False
        )
        ledger.append("started", run="a", session=SESSION, handle=handle.to_json())
        self.record = SessionRecord(SESSION, "a", spec, "local", "started", handle=handle.to_json())
        assert live.grant_for(self.project, self.record, Told()) == {}  # nothing of it goes to the session
        self.folder = LocalFolder(self.project.layout.session(SESSION))
        self.folder.write(SubmissionRecord(SESSION, 1, "sha256:0", "python", None, ""))
        self.folder.write(StartRecord(os.getpid(), time.time()))
        self._lock = self.folder.try_lock()
        self.tree = TrainingTree(self.folder.working / spec.tree)

    def seal(self, num_timesteps: int, *, session: str = SESSION, best: Manifest | None = None) -> Manifest:
        """Seal a set, and move the head there."""
        manifest = seal_set(self.tree.checkpoints, num_timesteps, session=session)
        set_head(self.tree, manifest, Best(best.stem, best.digest, 1.0) if best is not None else None)
        return manifest

    def end(self) -> None:
        """Let the session end."""
        if self._lock is not None:
            self.folder.write(ExitRecord("complete", 0, 1.0, ""))
            os.close(self._lock)
            self._lock = None

    def relay(self, *steps: Callable[[], object]) -> list[str]:
        """Run the relay, with one step of the training in each of its pauses and the end behind them; return the seals."""
        grant = live.kept_grant(self.project, self.record)
        assert grant is not None
        waiting = iter((*steps, self.end))
        moment = 0.0

        def pause(seconds: float) -> None:
            nonlocal moment
            moment += seconds
            next(waiting, lambda: None)()

        Relay(self.project, self.record, grant, say=self.said.append, pause=pause, clock=lambda: moment).run()
        return self.seals()

    def seals(self) -> list[str]:
        """The sets that are whole in the inbox, by N."""
        prefix = live.prefix(self.record)
        there = [info.key[len(prefix) :] for info in open_store(self.url).list(prefix)]
        return [key.split("_")[2] for key in there if key.endswith(".sealed")]

    def taken_in(self) -> set[str]:
        """What a fetch finds of it."""
        inbox = Inbox(self.project, self.record, None, Told())  # type: ignore[arg-type]  # none of it is the runner's
        return {Path(file.path).name for file in inbox.beside([])}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "project", f"local://{tmp_path}/store")
    yield machine
    machine.end()


def test_every_set_that_it_comes_to_is_sent_with_the_marks_of_the_session(machine: Machine) -> None:
    sent = machine.relay(lambda: machine.seal(100), lambda: machine.seal(200))
    assert sent == ["100", "200"]
    assert {name for name in machine.taken_in() if name.endswith(".json")} == {
        "a_checkpoint_100_steps.manifest.json",
        "a_checkpoint_200_steps.manifest.json",
    }
    assert [line.split(" (")[0] for line in machine.said] == [
        "Sent a_checkpoint_100_steps",
        "Sent a_checkpoint_200_steps",
    ]


def test_the_newest_and_the_best_are_sent_and_those_between_are_passed_over(machine: Machine) -> None:
    best = machine.seal(100)
    machine.seal(200)
    machine.seal(300, best=best)
    assert machine.relay() == ["100", "300"]
    assert [line.split(" (")[0] for line in machine.said] == [
        "Sent a_checkpoint_300_steps",
        "Sent a_checkpoint_100_steps",
    ]


def test_what_the_session_was_given_is_not_sent(machine: Machine) -> None:
    machine.seal(100, session="a/s0000")
    assert machine.relay() == []


def test_a_set_that_is_gone_or_damaged_is_passed_over(machine: Machine) -> None:
    gone = machine.seal(100)

    def remove() -> None:
        (machine.tree.checkpoints / gone.model.path).unlink()

    def damage() -> None:
        (machine.tree.checkpoints / "a_checkpoint_200_steps.manifest.json").write_bytes(b"{")

    remove()
    assert machine.relay(lambda: (machine.seal(200), damage()), lambda: machine.seal(300)) == ["300"]
    assert len(machine.said) == 1


def test_what_is_sealed_at_the_very_end_is_sent(machine: Machine) -> None:
    assert machine.relay(lambda: (machine.seal(100), machine.end())) == ["100"]


def test_what_came_home_is_cleared_away(machine: Machine) -> None:
    def come_home() -> None:
        machine.end()
        results = machine.project.layout.results(SESSION)
        results.mkdir(parents=True)
        (results / SESSION_INFO_NAME).write_bytes(b"{}")
        ledger = open_ledger(machine.project)
        ledger.append("finished", run="a", session=SESSION, state="complete", message="", exit_code=0, seconds=1.0)
        ledger.append("fetched", run="a", session=SESSION, files=1)

    assert machine.relay(lambda: machine.seal(100), lambda: machine.seal(200), come_home) == []
    assert list(open_store(machine.url).list()) == []


@pytest.mark.slow  # a real server
def test_a_store_that_is_away_for_a_while_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", replace(PATIENCE, seconds=0.2, first_pause=0.01))
    with sftp.serving(tmp_path) as server:
        url = server.url(tmp_path / "store")
    machine = Machine(tmp_path / "project", url)
    machine.seal(100)
    again = sftp.serving(tmp_path, server.port)
    try:
        assert machine.relay(lambda: machine.seal(200), again.__enter__) == ["200"]
        assert "could not be sent to the store: cannot write inbox/" in machine.said[0]
        assert machine.said[0].endswith("it is tried again")
        assert machine.said[1].startswith("Sent a_checkpoint_200_steps")
        assert len(machine.said) == 2
    finally:
        again.__exit__(None, None, None)
        machine.end()


@pytest.mark.slow  # a real server
def test_a_store_that_stays_away_is_given_up_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", replace(PATIENCE, seconds=0.0))
    with sftp.serving(tmp_path) as server:
        url = server.url(tmp_path / "store")
    machine = Machine(tmp_path / "project", url)
    machine.seal(100)
    with pytest.raises(CkptsyncError, match="cannot write inbox/"):
        machine.relay()


def test_a_store_that_refuses_ends_it(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file stands where the folder was to be")
    machine = Machine(tmp_path / "project", f"local://{tmp_path}/store")
    machine.seal(100)
    with pytest.raises(CkptsyncError, match="cannot write inbox/"):
        machine.relay()
    assert machine.said == []
    machine.end()


def test_the_key_lies_in_a_store_of_ones_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "project", f"local://{tmp_path}/store", "mine = true\n")
    assert machine.relay(lambda: machine.seal(100)) == ["100"]
    (machine.project.layout.session(SESSION) / "ckptsync-live.json").unlink()
    assert "a_checkpoint_100_steps.manifest.json" in machine.taken_in()
