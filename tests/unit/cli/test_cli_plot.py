"""plot on the command line: charts, the table, pictures, JSON, and what is said when something is missing."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import pytest
from support.commands import run, run_json

from ckptsync.cli.chart import ASCII, Chart, draw, nice_ticks, tick_labels
from ckptsync.cli.plot_text import metric_title, session_label
from ckptsync.core.manifest import Origin
from ckptsync.core.metrics import Row, Stretch, row_line, start_line

BRAILLE = range(0x2801, 0x2900)


def history(path: Path, *, sessions: int = 3, scenarios: tuple[str, ...] = ("cart",), rows: int = 20) -> Path:
    """Write the history of some sessions with a rising reward and a falling loss."""
    data, begun = b"", 0
    for number in range(1, sessions + 1):
        origin = Origin(f"r/s{number - 1:04d}", begun, "sha256:" + "0" * 64) if number > 1 else None
        for scenario in scenarios:
            data += start_line(Stretch(scenario, begun, f"r/s{number:04d}", "l", number, 10_000, origin))
            for steps in range(begun + 100, begun + 100 * rows + 1, 100):
                values = {"ep_rew_mean": steps / 10, "train/loss": 1 / steps, "price in $": 1.0}
                data += row_line(scenario, Row(steps, values))
        begun += 100 * rows
    path.write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")


def test_reward_and_loss_are_drawn_with_the_borders_of_sessions(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history(outside / "metrics.jsonl")
    code, out, err = run("plot", ".", capsys=capsys)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "cart: mean reward per episode · ep_rew_mean, 600 at 6,000 steps"
    assert lines[1].split() == ["s0001", "s0002", "s0003"]
    assert any(ord(character) in BRAILLE for character in out)
    border = lines[1].index("s0002")
    assert sum(line[border : border + 1] == "┊" for line in lines[2:14]) >= 9  # the curve crosses it somewhere
    assert any(line.split() == ["0", "2,000", "4,000", "6,000"] for line in lines)
    assert "cart: loss · train/loss, 0.0001667 at 6,000 steps" in lines
    assert lines[-2:] == ["cart: 6,000 of 10,000 steps in 3 sessions", "more with --metric: price in $"]
    assert max(map(len, lines)) <= 90


def test_the_metrics_are_listed(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history(outside / "metrics.jsonl")
    _, out, _ = run("plot", "metrics.jsonl", "--list", capsys=capsys)
    head, first, *_ = out.splitlines()
    assert head.split() == ["metric", "points", "first", "newest", "lowest", "highest"]
    assert first.split() == ["ep_rew_mean", "60", "10", "600", "10", "600"]


def test_json_has_the_points(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history(outside / "metrics.jsonl", scenarios=("a", "b"), sessions=1, rows=2)
    code, value = run_json("plot", ".", "--metric", "ep_rew_mean", "--scenario", "b", capsys=capsys)
    assert code == 0
    assert value["schema"] == "ckptsync.plot/1"
    assert (value["target"], value["output"], value["notes"]) == (".", None, [])
    (scenario,) = value["scenarios"]
    assert scenario == {
        "scenario": "b",
        "target": 10_000,
        "metrics": ["ep_rew_mean", "price in $", "train/loss"],
        "sessions": [{"session": "r/s0001", "begun_at": 0, "ended_at": 200}],
        "series": [{"metric": "ep_rew_mean", "points": [[100, 10.0], [200, 20.0]]}],
    }


@pytest.mark.slow
@pytest.mark.parametrize(("scenarios", "sessions", "rows"), [(("a",), 1, 1), (("a", "$x_{"), 30, 20)])
def test_a_picture_is_a_whole_png(
    outside: Path, capsys: pytest.CaptureFixture[str], scenarios: tuple[str, ...], sessions: int, rows: int
) -> None:
    history(outside / "metrics.jsonl", scenarios=scenarios, sessions=sessions, rows=rows)
    words = ("plot", ".", "--output", "new/out.png", "--metric", "ep_rew_mean", "--metric", "price in $")
    code, out, _ = run(*words, capsys=capsys)
    assert code == 0
    assert out.splitlines()[-1] == "wrote new/out.png"
    data = (outside / "new" / "out.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert (width >= 1200, height >= 800) == (True, True)
    assert len(set(_pixels(data))) > 100  # something is drawn on it
    assert [path.name for path in (outside / "new").iterdir()] == ["out.png"]


def _pixels(data: bytes) -> bytes:
    parts, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            parts.append(data[place + 8 : place + 8 + length])
        place += length + 12
    return zlib.decompress(b"".join(parts))


def test_a_picture_of_another_kind_is_refused(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history(outside / "metrics.jsonl")
    code, _, err = run("plot", ".", "--output", "out.jpeg", capsys=capsys)
    assert code == 2
    assert "--output out.png" in err
    assert not (outside / "out.jpeg").exists()


def test_without_matplotlib_it_is_said_how_to_get_it(
    outside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history(outside / "metrics.jsonl")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run("plot", ".", "--output", "out.png", capsys=capsys)
    assert code == 12
    assert "pip install 'ckptsync[plot]'" in err
    assert run("plot", ".", capsys=capsys)[0] == 0  # the terminal needs nothing


def test_an_empty_history_is_nothing_found(project: object, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("plot", "walker", capsys=capsys)
    assert code == 6
    assert "No metrics found in walker" in err
    assert "ckptsync launch walker --quick" in err
    code, value = run_json("plot", "walker", capsys=capsys)
    assert (code, value["schema"], value["error"]["kind"]) == (6, "ckptsync.plot/1", "NothingFoundError")


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    chart = Chart("title", [(0, 0.0), (100, 1.0)], [(0, "s0001"), (50, "s0002")], "steps")
    lines = draw(chart, width=60, height=6, signs=ASCII)
    assert all(line.isascii() for line in lines)
    assert any("*" in line for line in lines)


@pytest.mark.parametrize(
    "points", [[(5, 3.0)], [(1, 0.0), (2, 0.0)], [(0, -1e300), (1, 1e300)], [(0, 1e-300), (9, 2e-300)]]
)
def test_any_curve_can_be_drawn(points: list[tuple[int, float]]) -> None:
    lines = draw(Chart("t", points, [(0, "s0001")], "steps"), width=50, height=8)
    assert sum(ord(character) in BRAILLE for line in lines for character in line) > 0
    assert max(map(len, lines)) <= 50


def test_borders_without_room_get_no_label() -> None:
    borders = [(steps, f"s{steps:04d}") for steps in range(0, 1000, 10)]
    lines = draw(Chart("t", [(0, 0.0), (1000, 1.0)], borders, "steps"), width=60, height=5)
    labels = lines[1].split()
    assert labels[0] == "s0000"
    assert 5 <= len(labels) <= 10
    assert all(len(label) == 5 for label in labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (-3, 17, ["-5", "0", "5", "10", "15", "20"]),
        (0, 4e6, ["0", "1,000,000", "2,000,000", "3,000,000", "4,000,000"]),
        (0.001, 0.0023, ["0.0010", "0.0015", "0.0020", "0.0025"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, labels: list[str]) -> None:
    assert tick_labels(nice_ticks(low, high, 5)) == labels


def test_metrics_and_sessions_have_names_for_people() -> None:
    assert metric_title("train/critic_loss") == "critic loss · train/critic_loss"
    assert metric_title("score") == "score"
    assert metric_title("steps_per_second", short=True) == "speed (steps/s)"
    assert session_label(Stretch("a", 0, "run/s0003"), 1) == "s0003"
    assert session_label(Stretch("a", 0, None), 2) == "#2"
    assert session_label(Stretch("a", 0, "\x1b[2J"), 3) == "#3"


def test_names_from_outside_cannot_play_with_the_terminal(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = b'{"scenario":"a","num_timesteps":%d,"x\\u001b[2Jy":%d.5}\n'
    (outside / "metrics.jsonl").write_bytes(line % (1, 1) + line % (2, 2))
    for words in ([], ["--list"]):
        code, out, _ = run("plot", ".", *words, capsys=capsys)
        assert code == 0
        assert "\x1b" not in out
        assert "\\x1b[2J" in out
