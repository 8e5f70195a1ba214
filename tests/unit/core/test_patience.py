"""Failures that may pass are borne: with growing pauses, as the service wishes, until patience is at its end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from ckptsync.core.errors import CkptsyncError, CredentialsError, LockedError, ServiceError
from ckptsync.core.patience import Failures, Patience, growing

DOWN = ServiceError("it is down")


class Clock:
    """Time that passes while somebody sleeps, or while a call takes it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, seconds: float = 60.0, chance: float = 1.0, **given: Any) -> Patience:
        return Patience(seconds, sleep=self.sleep, clock=lambda: self.now, chance=lambda: chance, **given)

    def failing(self, *errors: CkptsyncError, takes: float = 0.0) -> Callable[[], str]:
        """Return a call that fails with each of these errors, once, and then answers."""
        left = list(errors)

        def call() -> str:
            self.now += takes
            if left:
                raise left.pop(0)
            return "done"

        return call


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_pauses_double_up_to_the_longest() -> None:
    assert [growing(number, 0.5, 20.0) for number in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    assert growing(100_000, 0.5, 20.0) == 20.0


def test_pauses_grow_until_patience_ends_and_one_attempt_is_made_then(clock: Clock) -> None:
    with pytest.raises(ServiceError) as info:
        clock.patience().call(clock.failing(*[DOWN] * 1000))
    assert info.value is DOWN
    assert clock.slept == [0.5, 1, 2, 4, 8, 16, 20, 8.5]
    assert sum(clock.slept) == 60


def test_a_pause_lies_anywhere_below_its_bound(clock: Clock) -> None:
    clock.patience(chance=0.25, first_pause=2.0, longest_pause=4.0).call(clock.failing(DOWN, DOWN, DOWN))
    assert clock.slept == [0.5, 1.0, 1.0]
    assert clock.patience(chance=0.0).call(clock.failing(DOWN)) == "done"
    assert clock.slept[3:] == [0.0]


def test_the_service_s_own_wish_is_kept(clock: Clock) -> None:
    busy = [ServiceError("busy", retry_after=seconds) for seconds in (30.0, 0.1, 0.0)]
    assert clock.patience().call(clock.failing(*busy)) == "done"
    assert clock.slept == [30.0, 1.0, 2.0]  # a wish to come sooner than others do is none


def test_a_wish_beyond_the_end_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(ServiceError, match="busy"):
        clock.patience().call(clock.failing(ServiceError("busy", retry_after=60.1)))
    assert clock.slept == []
    assert clock.patience().call(clock.failing(ServiceError("busy", retry_after=60.0))) == "done"


@pytest.mark.parametrize("error", [CredentialsError("who?"), ServiceError("no", transient=False), LockedError("his")])
def test_what_will_not_pass_is_not_borne(clock: Clock, error: CkptsyncError) -> None:
    with pytest.raises(type(error)) as info:
        clock.patience().call(clock.failing(error))
    assert (info.value, clock.slept) == (error, [])


def test_no_patience_is_one_attempt(clock: Clock) -> None:
    with pytest.raises(ServiceError):
        clock.patience(0.0).call(clock.failing(DOWN))
    assert clock.slept == []


def test_a_first_attempt_that_takes_long_leaves_a_second_one(clock: Clock) -> None:
    assert clock.patience().call(clock.failing(DOWN, takes=100.0)) == "done"


def test_from_the_start_the_time_of_attempts_counts(clock: Clock) -> None:
    with pytest.raises(ServiceError):
        clock.patience(from_start=True).call(clock.failing(DOWN, takes=100.0))
    assert clock.patience(from_start=True).call(clock.failing(DOWN, DOWN, takes=29.0)) == "done"


def test_a_sign_of_life_begins_anew(clock: Clock) -> None:
    told: list[CkptsyncError] = []
    failures = Failures(clock.patience(tell=told.append))
    for _ in range(100):
        for _ in range(3):
            failures.wait(DOWN)
        failures.heard()
    assert clock.slept == [0.5, 1.0, 2.0] * 100
    assert told == [DOWN] * 100  # the first of each row


def test_a_failure_that_is_final_is_not_told_as_one_that_is_borne(clock: Clock) -> None:
    told: list[CkptsyncError] = []
    for seconds, error in ((0.0, DOWN), (60.0, CredentialsError("who?"))):
        with pytest.raises(type(error)):
            clock.patience(seconds, tell=told.append).call(clock.failing(error))
    assert told == []


def test_rows_beside_each_other_count_alone_and_hear_together(clock: Clock) -> None:
    failures = Failures(clock.patience(from_start=True))
    one, other = failures.beside(), failures.beside()
    one.wait(DOWN)
    one.wait(DOWN)
    other.wait(DOWN)
    assert (one.count, other.count, failures.count) == (2, 1, 0)
    assert one.silent_seconds == other.silent_seconds == 2.0
    other.heard()
    assert (one.count, other.count) == (2, 0)
    assert one.silent_seconds == failures.silent_seconds == 0.0
    assert one.pause_after(DOWN) == 2.0


def test_a_row_that_begins_in_a_silence_has_what_is_left_of_it(clock: Clock) -> None:
    failures = Failures(clock.patience(from_start=True))
    failures.beside().wait(ServiceError("busy", retry_after=59.75))
    assert failures.beside().pause_after(DOWN) == 0.25


def test_an_answer_to_one_call_renews_patience_for_the_next(clock: Clock) -> None:
    failures = Failures(clock.patience(from_start=True))
    for number in count():
        assert failures.call(clock.failing(DOWN, DOWN, takes=10.0)) == "done"
        if number == 10:
            break
    assert clock.slept == [0.5, 1.0] * 11
