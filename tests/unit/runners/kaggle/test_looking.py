"""What comes late is looked for again and again; what must not be done twice is not."""

from __future__ import annotations

import pytest

from ckptsync.core.errors import CkptsyncError, CredentialsError, ServiceError
from ckptsync.core.patience import Patience
from ckptsync.runners.kaggle.errors import BusyError
from ckptsync.runners.kaggle.looking import looks, once

LOST = ServiceError("the answer was lost")


class World:
    """Acts and looks that go as they are told, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.acts: list[CkptsyncError | str] = []
        self.seen: list[CkptsyncError | str | None] = []

    @property
    def patience(self) -> Patience:
        return Patience(10.0, 1.0, 4.0, sleep=self.sleep, clock=lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def once(self) -> str:
        return once(self.patience, self._act, self._look)

    def _act(self) -> str:
        came = self.acts.pop(0)
        if isinstance(came, CkptsyncError):
            raise came
        return came

    def _look(self) -> str | None:
        came = self.seen.pop(0) if self.seen else None
        if isinstance(came, CkptsyncError):
            raise came
        return came


@pytest.fixture
def world() -> World:
    return World()


def test_looks_come_less_often_until_the_time_is_over(world: World) -> None:
    assert list(looks(world.patience)) == [0, 1, 2, 3, 4]
    assert world.slept == [1, 2, 4, 4]


def test_there_are_two_looks_at_least(world: World) -> None:
    assert list(looks(world.patience, 0.0)) == [0, 1]
    assert world.slept == [1]


def test_what_is_done_is_done_once(world: World) -> None:
    world.acts = ["done", "done again"]
    assert (world.once(), world.acts, world.slept) == ("done", ["done again"], [])


def test_what_came_of_an_answer_that_was_lost_is_found(world: World) -> None:
    world.acts, world.seen = [LOST, "done again"], [None, ServiceError("down"), "found"]
    assert (world.once(), world.acts) == ("found", ["done again"])


def test_it_is_done_again_where_nothing_came_of_it(world: World) -> None:
    world.acts = [LOST, "done"]
    assert (world.once(), world.now) == ("done", 11.0)


def test_a_service_that_is_busy_has_done_nothing(world: World) -> None:
    world.acts = [BusyError("busy"), BusyError("busy", retry_after=7.0), "done"]
    world.seen = ["somebody else's"]
    assert (world.once(), world.slept) == ("done", [1, 7])


def test_it_ends(world: World) -> None:
    world.acts = [LOST] * 5 + ["never reached"]
    with pytest.raises(ServiceError, match="lost"):
        world.once()
    assert world.acts == ["never reached"]
    world.acts = [BusyError("busy", retry_after=11.0), "never reached"]
    with pytest.raises(BusyError):
        world.once()
    assert world.acts == ["never reached"]


def test_a_refusal_is_told_at_once(world: World) -> None:
    world.acts = [CredentialsError("who?"), "never reached"]
    with pytest.raises(CredentialsError):
        world.once()
    world.acts, world.seen = [LOST, "never reached"], [ServiceError("no", transient=False)]
    with pytest.raises(ServiceError, match="no"):
        world.once()
    assert world.acts == ["never reached"]
