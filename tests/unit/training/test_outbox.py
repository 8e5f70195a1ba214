"""The outbox: what is sent, in which order, and what becomes of failures."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.projects import seal_set

from ckptsync.core import names
from ckptsync.core.errors import ServiceError
from ckptsync.core.grants import Target, UploadGrant
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import EventLog, read_events
from ckptsync.training import outbox
from ckptsync.training.outbox import Outbox


@pytest.fixture
def grant(tmp_path: Path) -> UploadGrant:
    return UploadGrant("a/s0001", 1, Target((tmp_path / "inbox").as_uri()), 2e9, 10_000_000)


def box_of(folder: Path, grant: UploadGrant, seconds: float = 20.0) -> Outbox:
    return Outbox(grant, folder / "tree", EventLog(folder / "events.jsonl", "a/s0001"), seconds_left=lambda: seconds)


def sealed(folder: Path, *steps: int) -> list[Manifest]:
    (folder / "tree").mkdir(exist_ok=True)
    return [seal_set(folder / "tree", number) for number in steps]


def arrived(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".sealed") for path in (folder / "inbox").rglob("*.sealed"))


class Gate:
    """Stands before every upload: the first waits until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self._upload = outbox.upload
        self.names: list[str] = []
        monkeypatch.setattr(outbox, "upload", self)

    def __call__(self, grant: UploadGrant, name: str, source: Path | bytes, **others: object) -> int:
        self.reached.set()
        assert self.opened.wait(20)
        self.names.append(name)
        return self._upload(grant, name, source, **others)  # type: ignore[arg-type]


def test_whole_sets_arrive_with_the_seal_last(
    tmp_path: Path, grant: UploadGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.opened.set()
    (made,) = sealed(tmp_path, 100)
    with box_of(tmp_path, grant) as box:
        box.offer(made, best=True)
    assert gate.names == [*(entry.path for entry in made.files), f"{made.stem}.sealed"]
    seal = grant.opened((tmp_path / "inbox" / f"{made.stem}.sealed").read_bytes())
    assert seal is not None
    assert Manifest.parse(seal) == made
    assert (box.sent, box.failures) == (1, 0)


def test_behind_it_sends_the_newest_and_the_best(
    tmp_path: Path, grant: UploadGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    first, best, *others = made = sealed(tmp_path, 100, 200, 300, 400, 500)
    with box_of(tmp_path, grant) as box:
        box.offer(first, best=False)
        assert gate.reached.wait(20)
        for manifest in made[1:]:
            box.offer(manifest, best=manifest is best)
        gate.opened.set()
    assert arrived(tmp_path) == [first.stem, best.stem, others[-1].stem]
    seals = [name for name in gate.names if name.endswith(".sealed")]
    assert seals == [f"{manifest.stem}.sealed" for manifest in (first, others[-1], best)]


def test_a_set_that_gave_way_is_passed_over(tmp_path: Path, grant: UploadGrant) -> None:
    gone, stays = sealed(tmp_path, 100, 200)
    (tmp_path / "tree" / names.model_name(gone.stem)).unlink()
    with box_of(tmp_path, grant) as box:
        box.offer(gone, best=True)
        box.offer(stays, best=False)
    assert arrived(tmp_path) == [stays.stem]
    assert box.failures == 0


@pytest.mark.parametrize("transient", [True, False])
def test_failures_are_told_once_and_never_raised(
    tmp_path: Path, grant: UploadGrant, monkeypatch: pytest.MonkeyPatch, transient: bool
) -> None:
    def fail(*_arguments: object, **_named: object) -> int:
        raise ServiceError("the server is on fire", transient=transient)

    monkeypatch.setattr(outbox, "upload", fail)
    made = sealed(tmp_path, 100, 200)
    with box_of(tmp_path, grant) as box:
        for manifest in made:
            box.offer(manifest, best=False)
    assert box.failures >= 1
    (told,) = read_events(tmp_path / "events.jsonl")
    assert told["code"] == "live.failed"
    assert "on fire" in told["message"]


def test_without_time_left_it_holds_nobody_up(
    tmp_path: Path, grant: UploadGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    (made,) = sealed(tmp_path, 100)
    with box_of(tmp_path, grant, seconds=-1.0) as box:
        box.offer(made, best=False)
        assert gate.reached.wait(20)
    assert arrived(tmp_path) == []  # it still stands at the gate
    gate.opened.set()
    box._thread.join(20)  # what it still says is said in this test
