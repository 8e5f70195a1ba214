"""The end marker is made from the events alone."""

from __future__ import annotations

from typing import Any

import pytest

from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.core.summary import summarise

SPEC = SessionSpec("run", "run/s0002", "l1", 2, (ScenarioSpec("a", 1000), ScenarioSpec("b", 500)))


def start(scenario: str, steps: int = 0, **fields: Any) -> dict[str, Any]:
    return {"event": "start", "scenario": scenario, "num_timesteps": steps, "target": 1000, **fields}


def save(scenario: str, steps: int, kind: str = "periodic") -> dict[str, Any]:
    return {"event": "save", "scenario": scenario, "num_timesteps": steps, "kind": kind, "at": "2026-01-01T00:00:00Z"}


def end(scenario: str, steps: int, cause: str, **fields: Any) -> dict[str, Any]:
    return {"event": "end", "scenario": scenario, "num_timesteps": steps, "cause": cause, **fields}


def test_counts_saves_and_keeps_where_it_began() -> None:
    events = [
        start("a", 200, training_seconds=12.0),
        save("a", 400),
        save("a", 1000, "final"),
        end("a", 1000, "target"),
    ]
    info = summarise(events, SPEC, 0, 3.0)
    block = info.scenarios["a"]
    assert (block["started_at"], block["num_timesteps"], block["checkpoints"]) == (200, 1000, 2)
    assert (info.cause, block["last_kind"], info.session) == ("target", "final", "run/s0002")
    assert info.total_training_time == pytest.approx(15.0)
    assert info.to_json()["training_completed"] is True


def test_the_worst_cause_names_the_session() -> None:
    events = [start("a"), end("a", 1000, "target"), start("b"), end("b", 100, "deadline")]
    assert summarise(events, SPEC, 0, 1.0).cause == "deadline"


@pytest.mark.parametrize(
    ("exit_code", "cause"), [(0, "exit"), (1, "error"), (139, "error"), (130, "signal"), (143, "signal")]
)
def test_a_scenario_without_an_end_is_told_by_the_exit_code(exit_code: int, cause: str) -> None:
    info = summarise([start("a"), save("a", 100)], SPEC, exit_code, 1.0)
    assert (info.cause, info.scenarios["a"]["cause"], info.scenarios["a"]["num_timesteps"]) == (cause, cause, 100)


def test_a_crash_after_a_reached_target_is_still_an_error() -> None:
    info = summarise([start("a"), end("a", 1000, "target")], SPEC, 1, 1.0, error="ValueError: x")
    assert (info.cause, info.scenarios["a"]["cause"], info.error) == ("error", "target", "ValueError: x")


def test_a_session_without_events_did_nothing_that_is_known() -> None:
    assert summarise([], None, 0, 1.0).cause == "exit"
    assert summarise([{"event": "boot"}], None, 1, 1.0).cause == "error"


def test_the_name_of_the_signal_reaches_the_end_marker() -> None:
    info = summarise([start("a"), end("a", 10, "signal", signal="SIGTERM")], SPEC, 143, 1.0)
    assert info.to_json()["signal"] == "SIGTERM"
