"""Replay buffers of real SB3, kept, sealed as segments, read back and rolled back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.replays import KINDS, Feeder, assert_same, make, snapshot
from support.rings import Shelf

pytestmark = pytest.mark.slow

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30)),
        st.tuples(st.sampled_from(["keep", "seal", "resume", "roll back", "write late"]), st.just(0)),
    ),
    min_size=3,
    max_size=30,
)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=steps, slots=st.integers(3, 14))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_course_comes_back_row_for_row(kind: str, steps: list[tuple[str, int]], slots: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf, feeder = Shelf(Path(folder)), Feeder()
        buffer = make(kind, slots)
        log = shelf.log(buffer, added=lambda: feeder.rows)
        point = log.keep()
        assert point is not None
        moment, files = snapshot(buffer), []
        for what, rows in steps:
            if what == "add":
                feeder.add(buffer, rows)
            elif what == "keep":
                point, moment = log.keep(), snapshot(buffer)
                assert point is not None
            elif what == "seal":  # the kept point, which may be an older one, and only what it needs stays
                files = shelf.seal(log, point)
                shelf.collect(files)
            elif what == "write late":  # a write that ends when training has gone on
                files = shelf.write(log, point)
                feeder.add(buffer, 1)
                late, point, moment = point, log.keep(), snapshot(buffer)
                assert point is not None
                log.sealed(late, files)
            elif what == "roll back":
                assert log.roll_back(point)
                feeder.rows = point.added
                assert_same(buffer, moment)
            elif what == "resume":
                files = shelf.seal(log, point)
                buffer = make(kind, slots)
                shelf.load(files, buffer)
                assert_same(buffer, moment)
                log = shelf.log(buffer, files, lambda: feeder.rows)
                point = log.keep()
                assert point is not None
        found = make(kind, slots)
        shelf.load(shelf.seal(log, point), found)
        assert_same(found, moment)
        assert log.roll_back(point)
        for going_on in (found, buffer):  # both go on alike
            Feeder(seed=1).add(going_on, 2 * slots + 1)
        assert_same(found, buffer)
