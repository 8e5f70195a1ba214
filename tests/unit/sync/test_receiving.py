"""Many files at once over connections that break: nothing is torn, nothing comes twice, nobody waits for ever."""

from __future__ import annotations

import _thread
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptsync.core.errors import CkptsyncError, CorruptError, CredentialsError, NothingFoundError, ServiceError
from ckptsync.core.patience import Failures, Patience
from ckptsync.runners.base import OutputFile, SessionHandle
from ckptsync.sync.downloads import Downloads
from ckptsync.sync.receiving import Received, Receiver

pytestmark = pytest.mark.slow

HANDLE = SessionHandle("a/s0001", "source")
CHUNK = 100


class Meter:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.position = 0

    def advance(self, amount: int) -> None:
        self.position += amount

    def set(self, position: int) -> None:
        self.position = position

    def note(self, text: str) -> None:
        pass


class Source:
    """Files that are streamed in small chunks; `fault` is called before each, with (path, position, attempt)."""

    name = "source"

    def __init__(self, files: dict[str, bytes], fault: Callable[[str, int, int], bool | None] | None = None) -> None:
        self.files = files
        self.fault = fault or (lambda path, position, attempt: None)
        self.attempts: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self._lock = threading.Lock()

    def listed(self) -> list[OutputFile]:
        return [OutputFile(path, len(data)) for path, data in self.files.items()]

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        with self._lock:
            self.attempts[file.path] += 1
            attempt = self.attempts[file.path]
        if file.path not in self.files:
            raise NothingFoundError(f"{file.path} does not exist")
        data = self.files[file.path]
        for position in range(offset, len(data), CHUNK):
            if self.fault(file.path, position, attempt):
                return
            chunk = data[position : position + CHUNK]
            with self._lock:
                self.sent[file.path] += len(chunk)
            yield chunk


class Place:
    """Where files go, and how."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "results"
        self.record = root / "downloads.json"
        self.meter = Meter()
        self.pauses: list[float] = []
        self.now = 0.0

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def receive(
        self, source: Source, files: list[OutputFile] | None = None, *, ended: bool = True, at_once: int = 4
    ) -> Received:
        self.folder.mkdir(exist_ok=True)
        patience = Patience(600.0, 0.5, 60.0, from_start=True, clock=lambda: self.now, chance=lambda: 1.0)
        receiver = Receiver(
            source,  # type: ignore[arg-type]  # it is asked for files alone
            HANDLE,
            self.folder,
            self.downloads,
            ended=ended,
            at_once=at_once,
            failures=Failures(patience),
            meter=self.meter,
            pause=self.pause,
        )
        return receiver.receive(source.listed() if files is None else files)

    @property
    def downloads(self) -> Downloads:
        return Downloads(self.record, self.folder)

    def holds(self, source: Source) -> set[str]:
        """What is recorded, after a look that it is true."""
        held = {file.path for file in source.listed() if self.downloads.holds(file.path, file.size_bytes)}
        assert all((self.folder / path).read_bytes() == source.files[path] for path in held)
        return held

    def partials(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*.partial")}


@pytest.fixture
def place(fast_folder: Path) -> Place:
    return Place(fast_folder)


def some_files(count: int = 20, size: int = 950) -> dict[str, bytes]:
    return {f"folder{n % 3}/file{n}": os.urandom(size + n) for n in range(count)} | {"empty": b""}


def test_all_files_come_with_their_digests(place: Place) -> None:
    source = Source(some_files())
    received = place.receive(source)
    assert received.digests == {
        path: "sha256:" + hashlib.sha256(data).hexdigest() for path, data in source.files.items()
    }
    assert place.holds(source) == source.files.keys()
    assert received.size_bytes == place.meter.position == sum(map(len, source.files.values()))
    assert place.partials() == set()


def test_as_many_as_told_come_at_the_same_time(place: Place) -> None:
    together = threading.Barrier(4, timeout=30)  # broken, and the test with it, unless four are in it at once

    def fault(path: str, position: int, attempt: int) -> None:
        if position == 0:
            together.wait()

    place.receive(Source({f"f{n}": b"x" * 10 for n in range(8)}, fault), at_once=4)


def test_a_dropped_connection_goes_on_where_it_stopped(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        if position == 300 * attempt:
            raise ServiceError("the connection broke")

    source = Source(some_files(), fault)
    place.receive(source)
    assert place.holds(source) == source.files.keys()
    assert source.attempts["folder0/file0"] == 4
    assert all(source.sent[path] == len(data) for path, data in source.files.items())  # not one byte twice
    assert place.meter.position == sum(map(len, source.files.values()))


def test_an_answer_that_ends_too_soon_is_no_whole_file(place: Place) -> None:
    source = Source({"a": os.urandom(900)}, lambda path, position, attempt: position == 300 * attempt)
    place.receive(source)
    assert place.holds(source) == {"a"}


def test_a_source_that_has_no_more_is_told_and_its_file_gets_no_name(place: Place) -> None:
    source = Source({"a": b"x" * 900, "b": b"y"}, lambda path, position, attempt: position == 300)
    with pytest.raises(CorruptError, match="'a' came with 300 of 900 bytes"):
        place.receive(source)
    assert (place.holds(source), place.partials()) == ({"b"}, {"a.partial"})
    source.fault = lambda path, position, attempt: None
    place.receive(source, [OutputFile("a", 900)])
    assert (place.holds(source), source.sent["a"]) == ({"a", "b"}, 900)


def test_errors_of_single_files_are_collected(place: Place) -> None:
    source = Source(some_files())
    missing = [OutputFile(f"gone{n}", 5) for n in range(5)]
    with pytest.raises(
        CorruptError, match=r"5 of 26 files did not come: gone\d does not exist; .*; and 2 more"
    ) as info:
        place.receive(source, [*source.listed(), *missing])
    assert info.value.hint == "run 'ckptsync fetch' again"
    assert place.holds(source) == source.files.keys()


def test_a_running_session_may_remove_files(place: Place) -> None:
    source = Source({"a": b"x"})
    assert place.receive(source, [OutputFile("a", 1), OutputFile("b", 1)], ended=False).gone == {"b"}
    assert place.holds(source) == set()  # it may change until the session has ended


def test_one_file_that_never_comes_is_left_while_others_come(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        if path == "bad":
            raise ServiceError("503")

    source = Source({"bad": b"x" * 5, "good": b"y" * 5}, fault)
    pauses: list[float] = []
    place.pause = pauses.append  # type: ignore[method-assign]  # no time passes: there are always others
    with pytest.raises(ServiceError, match="503") as info:
        place.receive(source)
    assert (info.value.transient, len(pauses), place.holds(source)) == (False, 9, {"good"})


def test_an_outage_is_borne_and_ends_at_the_patience(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        raise ServiceError("unreachable")

    with pytest.raises(ServiceError, match="unreachable"):
        place.receive(Source({"a": b"x" * 5}, fault), at_once=1)
    assert sum(place.pauses) == pytest.approx(600)
    assert place.pauses[:4] == [0.5, 1, 2, 4]
    assert max(place.pauses) == 60


def test_the_service_s_own_wish_is_kept(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        if attempt == 1:
            raise ServiceError("too many", retry_after=90.0)

    source = Source({"a": b"x" * 5}, fault)
    place.receive(source)
    assert place.pauses == [90.0]


def test_a_refusal_stops_everything_and_keeps_what_came(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        if path == "folder0/file9":
            raise CredentialsError("who are you?")

    source = Source(some_files(), fault)
    with pytest.raises(CredentialsError):
        place.receive(source, at_once=1)
    held = place.holds(source)
    assert {"folder1/file19", "folder1/file10"} <= held  # the larger ones came first
    assert "folder2/file8" not in held


def test_leaving_waits_for_nobody_and_loses_nothing(place: Place) -> None:
    stalled, gone_on = threading.Event(), threading.Event()

    def fault(path: str, position: int, attempt: int) -> None:
        if path == "stalled" and position == 500:
            stalled.set()
            gone_on.wait(60)
        elif path == "last":
            stalled.wait(60)
            _thread.interrupt_main()

    source = Source({"whole": b"w" * 2000, "stalled": b"s" * 1000, "last": b"l"}, fault)
    with pytest.raises(KeyboardInterrupt):
        place.receive(source, at_once=2)
        threading.Event().wait(60)  # the signal may come a moment later
    assert place.partials() == {"stalled.partial"}
    assert {"whole"} <= place.holds(source)
    before = (place.folder / "stalled.partial").stat().st_size
    gone_on.set()
    source.fault = lambda path, position, attempt: None
    source.sent.clear()
    place.receive(source, [OutputFile("stalled", 1000)])
    assert "stalled" in place.holds(source)
    assert before == 500


def test_what_was_cut_short_while_the_session_ran_is_not_taken_up(place: Place) -> None:
    def fault(path: str, position: int, attempt: int) -> None:
        if position == 500:
            raise ServiceError("broke")

    running = Source({"a": b"old" * 300}, fault)
    with pytest.raises(CkptsyncError, match="broke"):
        place.receive(running, ended=False)
    assert place.partials() == {"a.partial"}
    place.downloads.begin_final()
    assert place.partials() == set()
    ended = Source({"a": b"new" * 300})
    place.receive(ended)
    assert place.holds(ended) == {"a"}
    (place.folder / "b.partial").write_bytes(b"12")
    place.downloads.begin_final()  # from now on they are of files that do not change
    assert place.partials() == {"b.partial"}


def test_files_that_the_session_has_not_left_are_dropped_once_it_has_ended(place: Place) -> None:
    running = Source({"stays": b"1", "goes": b"2", "mine": b"3"})
    place.receive(running, ended=False)
    (place.folder / "mine").write_bytes(b"changed by a person")
    downloads = place.downloads
    assert downloads.drop_stale({"stays"}) == ["goes"]
    downloads.save()
    assert {path.name for path in place.folder.iterdir()} == {"stays", "mine"}
    assert place.downloads.drop_stale({"stays"}) == []
