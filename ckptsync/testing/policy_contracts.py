"""What every policy of saving and of keeping must hold to; mix the classes into tests of another one.

class TestMine(RetentionContract):
    def to_remove(self, sets, policy, keep): return my_to_remove(sets, policy, keep=keep)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..core.policy import Moment, Retained
from ..core.session import SavePolicy

_LINEAGE = "l0001-abcdef"


def sets_of(
    steps: Sequence[int], *, kind: str = "periodic", good: bool = True, score: float | None = None
) -> list[Retained]:
    """Make sets of one generation as retention sees them."""
    return [Retained(f"a_checkpoint_{n}_steps", (_LINEAGE, 1, n), kind, good, score) for n in steps]


class RetentionContract:
    """What may never be removed, whatever the policy is."""

    def to_remove(self, sets: Sequence[Retained], policy: SavePolicy, keep: Collection[str]) -> Sequence[str]:
        """The retention under test: the stems that may go."""
        raise NotImplementedError

    def test_nothing_goes_from_an_empty_tree(self) -> None:
        assert list(self.to_remove([], SavePolicy(), ())) == []

    def test_the_newest_good_set_stays(self) -> None:
        for keep_last in (0, 1, 3):
            gone = self.to_remove(sets_of(range(10, 100, 10)), SavePolicy(keep_last=keep_last), ())
            assert "a_checkpoint_90_steps" not in gone

    def test_broken_sets_do_not_count_as_the_newest(self) -> None:
        sets = [*sets_of([10, 20]), *sets_of([30, 40], good=False)]
        assert "a_checkpoint_20_steps" not in self.to_remove(sets, SavePolicy(keep_last=1), ())

    def test_what_is_named_stays(self) -> None:
        sets = sets_of(range(10, 100, 10))
        named = ["a_checkpoint_10_steps", "a_checkpoint_50_steps"]
        assert not set(named) & set(self.to_remove(sets, SavePolicy(keep_last=1), named))

    def test_final_sets_stay(self) -> None:
        sets = [*sets_of([10], kind="final"), *sets_of([20, 30, 40])]
        assert "a_checkpoint_10_steps" not in self.to_remove(sets, SavePolicy(keep_last=1), ())

    def test_the_best_stay(self) -> None:
        sets = [*sets_of([10], score=2.0), *sets_of([20], score=3.0), *sets_of([30, 40, 50], score=1.0)]
        for keep_best, best in (
            (1, {"a_checkpoint_20_steps"}),
            (2, {"a_checkpoint_10_steps", "a_checkpoint_20_steps"}),
        ):
            gone = self.to_remove(sets, SavePolicy(keep_last=1, keep_best=keep_best), ())
            assert not best & set(gone)

    def test_a_milestone_stays_for_ever(self) -> None:
        policy, left = SavePolicy(keep_last=1, keep_every_steps=100), sets_of([100])
        for n in range(110, 1_000, 10):
            left += sets_of([n])
            gone = self.to_remove(left, policy, ())
            left = [retained for retained in left if retained.stem not in gone]
        assert {retained.order[2] for retained in left} >= set(range(100, 1_000, 100))

    def test_only_sets_that_are_there_go_and_each_once(self) -> None:
        sets = sets_of(range(10, 100, 10))
        gone = list(self.to_remove(sets, SavePolicy(keep_last=2), ()))
        assert len(gone) == len(set(gone))
        assert set(gone) <= {retained.stem for retained in sets}

    def test_the_order_of_the_sets_does_not_matter(self) -> None:
        sets = sets_of(range(10, 100, 10))
        policy = SavePolicy(keep_last=2)
        assert set(self.to_remove(sets, policy, ())) == set(self.to_remove(sets[::-1], policy, ()))


class SavingContract:
    """When a set must be saved, and when none may be."""

    def kind_to_save(self, policy: SavePolicy, moment: Moment) -> str | None:
        """The decision under test: the kind, or None."""
        raise NotImplementedError

    def test_nothing_new_is_never_saved(self) -> None:
        for stopping in (None, "target", "signal", "steps"):
            moment = Moment(100, 100, 1e9, score=1.0, stopping=stopping)
            assert self.kind_to_save(SavePolicy(every_steps=10, every_seconds=1.0), moment) is None

    def test_a_stop_saves_whatever_is_new(self) -> None:
        nothing = SavePolicy(every_steps=None, every_seconds=None, save_best=False)
        for stopping in ("target", "deadline", "steps", "request", "callback", "signal", "error"):
            assert self.kind_to_save(nothing, Moment(101, 100, 0.0, stopping=stopping)) is not None

    def test_no_interval_is_missed(self) -> None:
        policy = SavePolicy(every_steps=1_000, every_seconds=None, save_best=False)
        last, saves = 0, 0
        for steps in range(0, 10_001, 128):
            if self.kind_to_save(policy, Moment(steps, last, 0.0)) is not None:
                last, saves = steps, saves + 1
        assert saves == 9  # the tenth multiple lies behind the last clean point

    def test_no_milestone_is_missed(self) -> None:
        policy = SavePolicy(every_steps=None, every_seconds=None, save_best=False, keep_every_steps=1_000)
        last, saved = 0, []
        for steps in range(0, 5_001, 128):
            if self.kind_to_save(policy, Moment(steps, last, 0.0)) is not None:
                last = steps
                saved.append(steps // 1_000)
        assert saved == [1, 2, 3, 4]

    def test_auto_saves_sooner_where_failures_are_frequent(self) -> None:
        moment = Moment(200, 100, 60.0, stall_seconds=0.1)
        often, seldom = (
            SavePolicy(every_steps=None, every_seconds="auto", failure_seconds=seconds) for seconds in (600.0, 1e6)
        )
        assert self.kind_to_save(often, moment) is not None
        assert self.kind_to_save(seldom, moment) is None
