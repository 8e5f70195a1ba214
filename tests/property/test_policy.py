"""Retention for any stock of sets, and saving along any course of a training."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.policy import Moment, Retained, kind_to_save, pinned, to_remove, to_remove_early
from ckptsync.core.session import SavePolicy

SETS = st.lists(
    st.builds(
        Retained,
        stem=st.uuids().map(str),
        order=st.tuples(st.sampled_from(["l0001-a", "l0002-b"]), st.integers(0, 3), st.integers(0, 50)),
        kind=st.sampled_from(["periodic", "final", "best", "emergency"]),
        good=st.booleans(),
        score=st.none() | st.floats(-10, 10),
        size_bytes=st.integers(0, 20),
    ),
    max_size=15,
    unique_by=(lambda s: s.stem, lambda s: s.order),
)
POLICIES = st.builds(
    SavePolicy,
    keep_last=st.integers(-1, 6),
    keep_best=st.integers(-1, 4),
    keep_every_steps=st.none() | st.integers(1, 30),
)


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
    scores = sorted((s.score for s in stock if s.good and s.score is not None), reverse=True)
    left_scores = sorted((s.score for s in left if s.good and s.score is not None), reverse=True)
    count = max(1, policy.keep_best)
    assert left_scores[:count] == scores[:count]
    if policy.keep_every_steps:
        assert _multiples(left, policy.keep_every_steps) == _multiples(stock, policy.keep_every_steps)
    assert len(gone) == len(set(gone))


def _multiples(sets: list[Retained], every: int) -> set[tuple[str, int]]:
    return {(s.order[0], s.order[2] // every) for s in sets if s.good and s.order[2] >= every}


@given(SETS, POLICIES)
def test_nothing_stays_without_a_reason_and_the_oldest_go_first(stock: list[Retained], policy: SavePolicy) -> None:
    gone = to_remove(stock, policy)
    by_stem = {s.stem: s for s in stock}
    assert [by_stem[stem].order for stem in gone] == sorted(by_stem[stem].order for stem in gone)
    for_ever = pinned(stock, policy)
    plain = [s for s in stock if s.good and s.stem not in for_ever and s.stem not in gone]
    assert len(plain) <= max(1, policy.keep_last) + max(1, policy.keep_best)
    assert to_remove([s for s in stock if s.stem not in gone], policy) == []


@given(SETS, POLICIES, st.integers(0, 200), st.booleans(), st.data())
def test_room_is_made_wholly_or_not_at_all(
    stock: list[Retained], policy: SavePolicy, missing: int, last_chance: bool, data: st.DataObject
) -> None:
    keep = data.draw(st.sets(st.sampled_from([s.stem for s in stock]))) if stock else set()
    gone = to_remove_early(stock, policy, missing, keep=keep, last_chance=last_chance)
    sizes = {s.stem: s.size_bytes for s in stock}
    if gone:
        assert sum(sizes[stem] for stem in gone) >= missing > sum(sizes[stem] for stem in gone[:-1])
    newest_first = sorted((s for s in stock if s.good), key=lambda s: s.order, reverse=True)
    untouched = {s.stem for s in newest_first[: 1 if last_chance else max(1, policy.keep_last - 1)]}
    scores = [s.score for s in stock if s.good and s.score is not None]
    left = [s.score for s in stock if s.stem not in gone and s.score is not None]
    assert not scores or max(scores) in left
    assert not set(gone) & (untouched | keep | pinned(stock, policy) | {s.stem for s in stock if not s.good})


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
