"""metrics.jsonl: what is written is read back; what makes no sense is counted and passed over."""

from __future__ import annotations

import json

import pytest

from ckptsync.core.manifest import Origin
from ckptsync.core.metrics import Row, Stretch, loss_of, parse_metrics, row_line, start_line, with_saves

ORIGIN = Origin("r/s0001", 100, "sha256:" + "a" * 64)
START = Stretch("a", 100, "r/s0002", "l0001-abcdef", 2, 500, ORIGIN)


def rows(stretch: Stretch) -> list[tuple[int, dict[str, float]]]:
    return [(row.num_timesteps, dict(row.values)) for row in stretch.rows]


def test_segments_and_rows_are_read_back() -> None:
    data = start_line(START) + row_line("a", Row(120, {"ep_rew_mean": 1.5})) + row_line("a", Row(140, {"loss": 2.0}))
    (stretch,), senseless = parse_metrics(data)
    assert senseless == 0
    assert rows(stretch) == [(120, {"ep_rew_mean": 1.5}), (140, {"loss": 2.0})]
    assert (stretch.scenario, stretch.begun_at, stretch.session, stretch.target) == ("a", 100, "r/s0002", 500)
    assert (stretch.lineage, stretch.generation, stretch.resumed_from) == ("l0001-abcdef", 2, ORIGIN)


def test_scenarios_and_sessions_of_one_file_are_kept_apart() -> None:
    data = b"".join(
        [
            start_line(Stretch("a", 0, lineage="l1", generation=1)),
            start_line(Stretch("b", 0, lineage="l1", generation=1)),
            row_line("b", Row(5, {"x": 1.0})),
            row_line("a", Row(10, {"x": 2.0})),
            start_line(Stretch("a", 10, lineage="l1", generation=2)),
            row_line("a", Row(20, {"x": 3.0})),
        ]
    )
    stretches, _ = parse_metrics(data)
    assert [(s.scenario, s.generation, rows(s)) for s in stretches] == [
        ("a", 1, [(10, {"x": 2.0})]),
        ("b", 1, [(5, {"x": 1.0})]),
        ("a", 2, [(20, {"x": 3.0})]),
    ]


def test_rows_of_one_step_are_one_and_no_row_goes_back() -> None:
    data = b"".join(row_line("a", Row(n, values)) for n, values in [(5, {"x": 1.0}), (5, {"y": 2.0}), (3, {"x": 9.0})])
    (stretch,), _ = parse_metrics(data)
    assert rows(stretch) == [(5, {"x": 1.0, "y": 2.0})]
    assert stretch.begun_at == 5


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[1]",
        b'{"scenario":"a"}',
        b'{"scenario":"../a","num_timesteps":1}',
        b'{"scenario":"a","num_timesteps":-1}',
        b'{"scenario":"a","num_timesteps":true}',
        b'{"scenario":"a","num_timesteps":1,"x":NaN}',
        b'{"scenario":"a","num_timesteps":1,"x":1e999}',
        b'{"scenario":"a","num_timesteps":1,"start":1}',
        b'{"scenario":"a","num_timesteps":1,"start":{"lineage":"l","generation":1,"resumed_from":{}}}',
        b'{"scenario":"a","num_timesteps":1,"start":{"lineage":5,"generation":1}}',
        b'{"at":"2026-11-22T00:00:00Z","scena',
        b"\xff\xfe",
    ],
)
def test_a_line_that_makes_no_sense_costs_itself_alone(line: bytes) -> None:
    good = row_line("a", Row(7, {"x": 1.0}))
    stretches, senseless = parse_metrics(line + b"\n" + good)
    assert senseless == 1
    assert [rows(stretch) for stretch in stretches] == [[(7, {"x": 1.0})]]


def test_a_line_that_is_still_being_written_is_no_damage() -> None:
    good = row_line("a", Row(7, {"x": 1.0}))
    stretches, senseless = parse_metrics(good + b'{"at":"2026')
    assert (len(stretches), senseless) == (1, 0)


def test_only_numbers_are_values() -> None:
    line = {"at": "x", "scenario": "a", "num_timesteps": 1, "t": "text", "b": True, "n": None, "l": [1], "i": 3}
    (stretch,), _ = parse_metrics(json.dumps(line | {"k" * 300: 1.0}).encode() + b"\n")
    assert rows(stretch) == [(1, {"i": 3.0})]


def test_saves_become_numbers_over_the_steps() -> None:
    stretch = Stretch("a", 100, rows=(Row(120, {"x": 1.0}),))
    save = {"event": "save", "scenario": "a", "num_timesteps": 120, "seconds": 0.5, "size_bytes": 10}
    events = [
        save,
        {**save, "num_timesteps": 110, "seconds": None, "stall_seconds": 0.01},
        {**save, "num_timesteps": 90},
        {**save, "scenario": "b"},
        {**save, "num_timesteps": "120"},
        {"event": "end", "scenario": "a", "num_timesteps": 130},
    ]
    (merged,) = with_saves([stretch], events)
    assert rows(merged) == [
        (110, {"save_bytes": 10.0, "stall_seconds": 0.01}),
        (120, {"x": 1.0, "save_seconds": 0.5, "save_bytes": 10.0}),
    ]


@pytest.mark.parametrize(
    ("known", "loss"),
    [
        (["train/value_loss", "train/loss"], "train/loss"),
        (["train/actor_loss", "train/critic_loss"], "train/critic_loss"),
        (["train/policy_loss", "train/value_loss"], "train/value_loss"),
        (["ep_rew_mean"], None),
    ],
)
def test_the_loss_of_every_algorithm_is_found(known: list[str], loss: str | None) -> None:
    assert loss_of(known) == loss
