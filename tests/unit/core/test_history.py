"""One curve out of many sessions: cut where the next one went on, without the branches that nobody went on from."""

from __future__ import annotations

from ckptsync.core.history import join
from ckptsync.core.manifest import Origin
from ckptsync.core.metrics import Row, Stretch


def origin(session: str | None, steps: int, token: str = "0") -> Origin:
    return Origin(session, steps, "sha256:" + token * 64)


def stretch(
    number: int | None,
    begun_at: int,
    until: int,
    resumed_from: Origin | None = None,
    *,
    generation: int | None = None,
    value: float | None = None,
    lineage: str = "l1",
) -> Stretch:
    session = f"r/s{number:04d}" if number is not None else None
    mark = float(number or generation or 0) if value is None else value
    rows = tuple(Row(steps, {"y": mark}) for steps in range(begun_at, until + 1, 10))
    return Stretch("a", begun_at, session, lineage, generation or number or 0, 1000, resumed_from, rows)


def test_the_tail_of_a_killed_session_gives_way_to_the_next() -> None:
    first, second = stretch(1, 0, 90), stretch(2, 50, 120, origin("r/s0001", 50))
    history = join([first, second], second)
    assert history.points("y") == [(n, 1.0 if n <= 50 else 2.0) for n in range(0, 121, 10)]
    assert [s.session for s in history.stretches] == ["r/s0001", "r/s0002"]


def test_the_newest_session_keeps_its_tail() -> None:
    only = stretch(1, 0, 90)
    assert join([only], only).points("y")[-1] == (90, 1.0)


def test_a_branch_that_nobody_went_on_from_is_left_out() -> None:
    first = stretch(1, 0, 100)
    lost = stretch(2, 100, 300, origin("r/s0001", 100))
    third = stretch(3, 40, 80, origin("r/s0001", 40, "1"))
    history = join([first, lost, third], third)
    assert {y for _x, y in history.points("y")} == {1.0, 3.0}
    assert history.points("y")[-1] == (80, 3.0)


def test_a_branch_written_later_spoils_nothing() -> None:
    first, second = stretch(1, 0, 100), stretch(2, 100, 200, origin("r/s0001", 100))
    fourth = stretch(4, 200, 300, origin("r/s0002", 200))
    late = stretch(3, 100, 160, origin("r/s0001", 100))
    history = join([first, second, late, fourth], fourth)
    assert [s.session for s in history.stretches] == ["r/s0001", "r/s0002", "r/s0004"]


def test_a_session_that_fell_back_further_than_one_session_cuts_both() -> None:
    first, second = stretch(1, 0, 100), stretch(2, 100, 200, origin("r/s0001", 100))
    third = stretch(3, 60, 90, origin("r/s0001", 60))
    assert [s.session for s in join([first, second, third], third).stretches] == ["r/s0001", "r/s0003"]


def test_sessions_whose_rows_are_gone_are_passed_by_and_named() -> None:
    first = stretch(1, 0, 100)
    third = stretch(3, 200, 300, origin("r/s0002", 200))
    history = join([first, third], third, origins={"r/s0002": origin("r/s0001", 80)})
    assert history.missing == ("r/s0002",)
    assert [x for x, _y in history.points("y")] == [*range(0, 81, 10), *range(200, 301, 10)]
    assert join([first, third], third).missing == ("r/s0002",)
    assert join([first, third], third).points("y")[0] == (200, 3.0)


def test_local_training_goes_by_generations() -> None:
    stretches = [
        stretch(None, 0, 100, generation=1),
        stretch(None, 100, 200, origin(None, 100), generation=2, value=9.0),
        stretch(None, 60, 150, origin(None, 60), generation=2),  # the set of 100 was damaged: it fell back
        stretch(None, 150, 220, origin(None, 150), generation=3),
    ]
    history = join(stretches, stretches[-1])
    assert {y for _x, y in history.points("y")} == {1.0, 2.0, 3.0}
    assert [s.begun_at for s in history.stretches] == [0, 60, 150]


def test_another_lineage_of_local_training_is_another_history() -> None:
    old, new = stretch(None, 0, 500, generation=1, lineage="l0"), stretch(None, 0, 100, generation=1, lineage="l9")
    assert len(join([old, new], new).stretches) == 1


def test_a_script_that_opens_its_session_twice() -> None:
    first = stretch(1, 0, 50)
    again = stretch(1, 50, 90, origin("r/s0001", 50), value=7.0)
    history = join([first, again], again)
    assert history.points("y") == [(n, 1.0 if n <= 50 else 7.0) for n in range(0, 91, 10)]


def test_a_circle_of_origins_ends() -> None:
    first = stretch(1, 50, 90, origin("r/s0002", 60))
    second = stretch(2, 60, 120, origin("r/s0001", 70))
    steps = [x for x, _y in join([first, second], second).points("y")]
    assert steps == sorted(set(steps))


def test_other_scenarios_are_not_mixed_in() -> None:
    mine = stretch(1, 0, 50)
    other = Stretch("b", 0, "r/s0001", "l1", 1, rows=(Row(10, {"y": 5.0}),))
    history = join([other, mine], mine)
    assert history.scenario == "a"
    assert (5.0 in {y for _x, y in history.points("y")}, history.metrics, history.target) == (False, ["y"], 1000)
