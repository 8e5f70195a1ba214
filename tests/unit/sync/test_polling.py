"""Waiting for a session: through outages and broken streams, told once, ended by its state alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from support.projects import Told

from ckptsync.core.errors import CkptsyncError, CredentialsError, ServiceError
from ckptsync.runners.base import SessionHandle, SessionState, SessionStatus, StreamingRunner
from ckptsync.sync.contact import Contact
from ckptsync.sync.following import Follower
from ckptsync.sync.polling import watch

pytestmark = pytest.mark.slow

HANDLE = SessionHandle("a/s0001", "remote")
RUNNING, COMPLETE = SessionStatus(SessionState.RUNNING), SessionStatus(SessionState.COMPLETE)
DOWN = ServiceError("the service cannot be reached")
HOUR = 3600.0


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Remote:
    """A service that answers by a script: `answer` is given the number of the look."""

    name = "remote"

    def __init__(self, answer: Callable[[int], SessionStatus | CkptsyncError], printed: bytes = b"") -> None:
        self.answer = answer
        self.looks = 0
        self.printed = printed

    def status(self, handle: SessionHandle) -> SessionStatus:
        self.looks += 1
        found = self.answer(self.looks)
        if isinstance(found, CkptsyncError):
            raise found
        return found

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        return self.printed[offset : offset + 7]  # a piece at a time


def _never(*_arguments: object) -> None:
    raise AssertionError("a wait asks for none of this")


class Streaming(Remote):
    """One that also streams what it prints, each time only a little of it; then the stream breaks or just ends."""

    find = start = cancel = outputs = read_output = _never

    def __init__(self, answer: Callable[[int], SessionStatus | CkptsyncError], printed: bytes, piece: int) -> None:
        super().__init__(answer, printed)
        self.piece = piece
        self.streams: list[int] = []

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        return b""  # as a service does that keeps the log back until the end

    def follow(self, handle: SessionHandle, offset: int = 0) -> Iterator[bytes]:
        self.streams.append(offset)
        yield self.printed[offset : offset + self.piece]
        if len(self.streams) % 2:
            raise ServiceError("the stream broke")


def seen(
    remote: Remote, clock: Clock, told: Told, contact: Contact | None = None, *, log: bool = False
) -> list[object]:
    follower = Follower(remote, HANDLE) if log else None  # type: ignore[arg-type]
    events = watch(
        remote,  # type: ignore[arg-type]
        HANDLE,
        contact or Contact(),
        told,
        follower=follower,
        sleep=clock.sleep,
        clock=clock,
    )
    return list(events)


def after(
    looks: int, before: SessionStatus | CkptsyncError = RUNNING
) -> Callable[[int], SessionStatus | CkptsyncError]:
    return lambda look: COMPLETE if look > looks else before


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> Told:
    return Told()


def test_looks_come_less_and_less_often(clock: Clock, told: Told) -> None:
    assert seen(Remote(after(40)), clock, told)[-1] == COMPLETE
    assert clock.pauses[0] == pytest.approx(1.0, rel=0.11)
    assert all(pause == pytest.approx(60.0, rel=0.11) for pause in clock.pauses[20:])
    assert len({round(pause, 6) for pause in clock.pauses[20:]}) > 10  # nobody looks in step with others
    assert told.text == ""


def test_looks_come_often_again_when_the_session_does_something_else(clock: Clock, told: Told) -> None:
    queued = SessionStatus(SessionState.QUEUED)
    seen(Remote(lambda look: queued if look <= 30 else RUNNING if look <= 31 else COMPLETE), clock, told)
    assert clock.pauses[29] == pytest.approx(60.0, rel=0.11)
    assert clock.pauses[30] == pytest.approx(1.0, rel=0.11)


def test_hours_of_outage_are_lived_through_and_told_a_few_times(clock: Clock, told: Told) -> None:
    remote = Remote(lambda look: COMPLETE if clock.now > 10 * HOUR else DOWN)
    assert seen(remote, clock, told) == [COMPLETE]
    assert remote.looks > 400
    assert told.warnings[0] == "the service cannot be reached; asking again"
    assert 10 <= len(told.warnings) <= 16
    assert "asking again" in told.warnings[-1]
    assert len(told.lines) == 1
    assert told.lines[0].startswith("answered again after 10 h")


def test_patience_is_a_time(clock: Clock, told: Told) -> None:
    with pytest.raises(ServiceError, match="cannot be reached"):
        seen(Remote(lambda look: DOWN), clock, told, Contact(wait_patience=2 * HOUR))
    assert clock.now == pytest.approx(2 * HOUR)


def test_an_answer_renews_patience(clock: Clock, told: Told) -> None:
    remote = Remote(lambda look: COMPLETE if clock.now > 50 * HOUR else RUNNING if look % 50 == 0 else DOWN)
    assert seen(remote, clock, told, Contact(wait_patience=2 * HOUR))[-1] == COMPLETE


def test_the_service_says_when_to_come_back(clock: Clock, told: Told) -> None:
    busy = ServiceError("too many requests", retry_after=700.0)
    seen(Remote(lambda look: busy if look == 1 else COMPLETE), clock, told)
    assert clock.pauses == [700.0]


def test_a_refusal_ends_the_wait_at_once(clock: Clock, told: Told) -> None:
    with pytest.raises(CredentialsError):
        seen(Remote(lambda look: CredentialsError("who are you?") if look == 2 else RUNNING), clock, told)
    assert len(clock.pauses) == 1


def test_a_word_that_is_not_known_is_told_and_is_no_end(clock: Clock, told: Told) -> None:
    strange = SessionStatus(SessionState.UNKNOWN, "SNOOZING")
    assert seen(Remote(after(5, strange)), clock, told) == [COMPLETE]
    assert told.warnings[0] == "what remote says of a/s0001 is not known (SNOOZING); asking again"
    with pytest.raises(ServiceError, match="SNOOZING"):
        seen(Remote(lambda look: strange), Clock(), told)


def test_a_log_is_asked_for_piece_by_piece(clock: Clock, told: Told) -> None:
    printed = b"".join(b"line %d\n" % n for n in range(50))
    events = seen(Remote(after(3), printed), clock, told, log=True)
    pieces = [event for event in events if isinstance(event, bytes)]
    assert b"".join(pieces) == printed
    assert max(map(len, pieces)) == 7


def test_a_log_that_cannot_be_read_does_not_end_the_wait(clock: Clock, told: Told) -> None:
    class Mute(Remote):
        def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
            raise CredentialsError("no log for you")

    assert seen(Mute(after(3)), clock, told, log=True)[-1] == COMPLETE
    assert told.warnings == ["the end of the log cannot be read: no log for you"]


@pytest.mark.parametrize("piece", [1, 10, 64, 10_000])
def test_a_stream_that_breaks_loses_nothing_and_repeats_nothing(piece: int, told: Told) -> None:
    printed = b"".join(b"line %d\n" % n for n in range(60))
    remote = Streaming(after(200), printed, piece)
    assert isinstance(remote, StreamingRunner)
    contact = Contact(poll_first=0.001, poll_longest=0.001)
    follower = Follower(remote, HANDLE)
    events = list(watch(remote, HANDLE, contact, told, follower=follower))  # real waits: on the stream
    assert events[-1] == COMPLETE
    assert b"".join(event for event in events if isinstance(event, bytes)).startswith(printed[: 200 * piece])
    assert remote.streams[:2] == [0, min(piece, len(printed))]
    assert told.text == ""


def test_a_stream_tells_at_once_what_a_look_would_tell_late(told: Told) -> None:
    ended, told_of_it = threading.Event(), threading.Event()

    class Live(Streaming):
        def follow(self, handle: SessionHandle, offset: int = 0) -> Iterator[bytes]:
            if not offset:
                yield b"first\n"
                assert told_of_it.wait(30)  # it came before the next look, which is an hour away
                yield b"second\n"
                ended.set()

    remote = Live(lambda look: COMPLETE if ended.is_set() else RUNNING, b"", 0)
    contact = Contact(poll_first=3600.0, poll_longest=3600.0)
    events = []
    for event in watch(remote, HANDLE, contact, told, follower=Follower(remote, HANDLE)):
        events.append(event)
        if event == b"first\n":
            told_of_it.set()
    assert [event for event in events if isinstance(event, bytes)] == [b"first\n", b"second\n"]
    assert (events[-1], remote.looks) == (COMPLETE, 2)


def test_leaving_a_stalled_stream_waits_for_nobody(told: Told) -> None:
    stalled, go_on = threading.Event(), threading.Event()

    class Stalled(Streaming):
        def follow(self, handle: SessionHandle, offset: int = 0) -> Iterator[bytes]:
            yield b"x"
            stalled.set()
            go_on.wait(60)

    remote = Stalled(lambda look: RUNNING, b"", 0)
    events = watch(remote, HANDLE, Contact(), told, follower=Follower(remote, HANDLE))
    assert next(event for event in events if isinstance(event, bytes)) == b"x"
    assert stalled.wait(30)
    events.close()  # type: ignore[attr-defined]  # as Ctrl-C does
    go_on.set()
