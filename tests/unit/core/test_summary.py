"""The end marker is made from the events alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.toysets import write_set

from ckptsync.core.heads import Head, write_head
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.core.summary import summarise, trained_seconds

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


def test_training_times_add_up_over_scenarios_and_sessions() -> None:
    events = [
        start("a", 200, training_seconds=12.0),
        save("a", 400) | {"metrics": {"training_seconds": 15.0}},
        end("a", 400, "target", seconds=4.0),
        start("b", 0, training_seconds=0.0),
        save("b", 100) | {"metrics": {"training_seconds": 7.5}},  # killed behind this
    ]
    info = summarise(events, SPEC, 137, 999.0, trained={"b": 1.0, "c": 100.0})
    assert info.total_training_time == pytest.approx(12.0 + 4.0 + 7.5 + 100.0)


def test_a_second_start_of_a_scenario_counts_on_from_the_first() -> None:
    events = [
        start("a", 0, training_seconds=0.0),
        end("a", 100, "steps", seconds=5.0),
        start("a", 100, training_seconds=5.0),
        end("a", 200, "steps", seconds=3.0),
    ]
    assert summarise(events, SPEC, 0, 20.0).total_training_time == pytest.approx(8.0)


def test_saves_are_counted_and_measured() -> None:
    events = [
        start("a"),
        save("a", 10) | {"seconds": 0.5, "stall_seconds": 0.02, "size_bytes": 100},
        save("a", 20) | {"seconds": 1.5, "stall_seconds": 0.01, "size_bytes": 300},
        {"event": "failed-save", "scenario": "a", "num_timesteps": 30, "error": "full", "failures": 1},
        save("a", 40) | {"seconds": None, "size_bytes": 5},
    ]
    assert summarise(events, SPEC, 0, 1.0).to_json()["saves"] == {
        "count": 3,
        "failures": 1,
        "bytes": 405,
        "mean_seconds": 1.0,
        "worst_seconds": 1.5,
        "longest_stall_seconds": 0.02,
    }
    nothing = summarise([], SPEC, 0, 1.0).saves
    assert (nothing["count"], nothing["mean_seconds"], nothing["longest_stall_seconds"]) == (0, None, None)


def test_the_process_that_trained_speaks_before_the_one_that_waits() -> None:
    told = start("a", versions={"torch": "2.13.0", "python": "3.11"}, host={"gpus": ["A"]})
    info = summarise([told], SPEC, 0, 1.0, versions={"python": "3.12", "ckptsync": "1"}, host={"gpus": []})
    assert info.versions == {"torch": "2.13.0", "python": "3.11", "ckptsync": "1"}
    assert info.host == {"gpus": ["A"]}
    assert summarise([start("a")], SPEC, 0, 1.0, host={"gpus": []}).host == {"gpus": []}


def test_no_parameter_that_is_called_a_secret_is_told() -> None:
    info = summarise([], None, 0, 1.0, config={"params": {"WANDB_API_KEY": "hunter2", "lr": 0.1}})
    assert info.config == {"params": {"WANDB_API_KEY": "[secret]", "lr": 0.1}}


def test_the_time_behind_a_head_is_read_from_its_seal(tmp_path: Path) -> None:
    tree = TrainingTree(tmp_path)
    write_set(tree.checkpoints, "a", 200, metrics={"training_seconds": 9.0})
    head = write_set(tree.checkpoints, "a", 100, metrics={"training_seconds": 4.5})
    write_head(tree, Head.of(head))
    write_set(tree.checkpoints, "plain", 100)
    tree.head("broken").write_text("{")
    assert trained_seconds(tree, ["a", "plain", "broken", "gone"]) == {"a": 4.5}
