"""Foreign bytes as lines, and where a session stands as its own line tells it."""

from __future__ import annotations

import pytest

from ckptsync.sync.lines import MAX_LINE, Lines
from ckptsync.sync.standing import Standing, parse_standing
from ckptsync.training import screen

DATA = "ein Wört\r\n\nzehn %\rneunzig %\rfertig\r\nlast".encode() + b"\xff\xfe"


@pytest.mark.parametrize("piece", range(1, 30))
def test_lines_do_not_depend_on_where_pieces_end(piece: int) -> None:
    lines = Lines()
    found = [line for at in range(0, len(DATA), piece) for line in lines.feed(DATA[at : at + piece])]
    assert [*found, *lines.end()] == ["ein Wört", "", "fertig", "last\ufffd\ufffd"]
    assert lines.end() == []


def test_a_log_without_line_breaks_is_never_held_whole() -> None:
    lines, told = Lines(), 0
    for _ in range(100):
        told += sum(map(len, lines.feed(b"x" * 100_000)))
    assert told + sum(map(len, lines.end())) == 10_000_000
    lines.feed(b"x" * MAX_LINE)
    assert sum(map(len, lines.end())) == MAX_LINE


def test_a_bar_that_is_drawn_for_ever_is_never_held_whole() -> None:
    lines = Lines()
    for percent in range(2000):
        assert lines.feed(b"\r%d %% " % percent + b"#" * 1000) == []
    assert len(lines.end()[0]) < 2000


def standing(**changes: object) -> screen.Standing:
    values: dict[str, object] = {
        "scenario": "cart pole 2",
        "num_timesteps": 3_000,
        "target": 100_000,
        "done": 3_000,
        "total": 100_000,
        "session_done": 250,
        "session_total": 500,
        "seconds": 10.0,
        "deadline_in": None,
        "pace": None,
        "numbers": {},
        "limits": screen.Limits(),
        "several": False,
    }
    return screen.Standing(**{**values, **changes})  # type: ignore[arg-type]


def test_the_line_of_a_session_is_understood() -> None:
    plain = parse_standing(standing().line())
    assert plain == Standing("cart pole 2", 3_000, 100_000, 3_000, 100_000)
    limits = screen.Limits(deadline=100.0, max_steps=500, every_steps=1_000)
    numbers = {"rollout/ep_rew_mean": 57.8, "train/loss": 0.123}
    everything = standing(
        done=1_303_000, total=2_000_000, several=True, deadline_in=3_700.0, pace=100.0, numbers=numbers, limits=limits
    )
    found = parse_standing(everything.line() + "\r")
    assert found is not None
    assert (found.num_timesteps, found.done, found.total) == (3_000, 1_303_000, 2_000_000)
    assert found.details[-2:] == ("1:01:40 to the deadline", "next save at 4,000")
    assert any(part.endswith("to the target") for part in found.details)
    assert not any(part.startswith(("run ", "session ")) for part in found.details)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[TRAIN] cart stops at 4,096/100,000 steps: steps",
        "[TRAIN] cart x/y steps",
        "  [TRAIN] cart 1/2 steps",
        "[TRAIN] cart 1/2 steps and more",
        "[TRAIN] cart " + "9" * 10_000 + "/2 steps",
        "[TRAIN] " + "a" * 100_000 + " 1/2 steps",
        "cart 1/2 steps",
    ],
)
def test_other_lines_say_nothing_of_it(line: str) -> None:
    assert parse_standing(line) is None
