"""Retention for any stock of sets, and saving along any course of a training."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.policy import Moment, Retained, kind_to_save, to_remove
from ckptsync.core.session import SavePolicy

SETS = st.lists(
    st.builds(
        Retained,
        stem=st.uuids().map(str),
        order=st.tuples(st.sampled_from(["l0001-a", "l0002-b"]), st.integers(0, 3), st.integers(0, 50)),
        kind=st.sampled_from(["periodic", "final", "best", "emergency"]),
        good=st.booleans(),
    ),
    max_size=15,
    unique_by=(lambda s: s.stem, lambda s: s.order),
)
POLICIES = st.builds(SavePolicy, keep_last=st.integers(-1, 6))


@given(SETS, POLICIES, st.data())
def test_what_must_stay_stays(stock: list[Retained], policy: SavePolicy, data: st.DataObject) -> None:
    keep = data.draw(st.sets(st.sampled_from([s.stem for s in stock]))) if stock else set()
    gone = to_remove(stock, policy, keep=keep)
    left = [s for s in stock if s.stem not in gone]
    newest_first = sorted((s for s in stock if s.good), key=lambda s: s.order, reverse=True)
    assert newest_first[: max(1, policy.keep_last)] == [
        s for s in newest_first[: max(1, policy.keep_last)] if s in left
    ]
    for s in stock:
        if not s.good or s.kind == "final" or s.stem in keep:
            assert s in left
    assert len(gone) == len(set(gone))


@given(SETS, POLICIES)
def test_nothing_stays_without_a_reason_and_the_oldest_go_first(stock: list[Retained], policy: SavePolicy) -> None:
    gone = to_remove(stock, policy)
    by_stem = {s.stem: s for s in stock}
    assert [by_stem[stem].order for stem in gone] == sorted(by_stem[stem].order for stem in gone)
    plain = [s for s in stock if s.good and s.kind != "final" and s.stem not in gone]
    assert len(plain) <= max(1, policy.keep_last)
    assert to_remove([s for s in stock if s.stem not in gone], policy) == []


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 30), st.none() | st.floats(-10, 10)), max_size=40),
)
def test_no_stretch_of_training_goes_without_a_save(every: int, course: list[tuple[int, float, float | None]]) -> None:
    policy = SavePolicy(every_steps=every, every_seconds=60.0)
    now = last = 0
    waited = 0.0
    best: float | None = None
    for steps, seconds, score in course:
        now, waited = now + steps, waited + seconds
        kind = kind_to_save(policy, Moment(now, last, waited, score, best))
        if kind is None:
            assert now // every == last // every
            assert waited < 60.0
        else:
            last, waited = now, 0.0
            if kind == "best":
                assert score is not None
                assert best is None or score > best
                best = score
    stopped = kind_to_save(policy, Moment(now, last, waited, stopping="signal"))
    assert (stopped == "emergency") == (now > last)
