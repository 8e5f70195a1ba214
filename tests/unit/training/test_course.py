"""When a scenario saves and stops, and what it writes down: loops without torch in this process."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from support.loops import events, loop, model_writer, train

from ckptsync.core import names, sets
from ckptsync.core.errors import StorageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import ScenarioSpec, SessionSpec, read_session_info
from ckptsync.training import TrainingSession


def saves() -> list[tuple[int, str]]:
    return [(event["num_timesteps"], event["kind"]) for event in events("save")]


def specify(monkeypatch: pytest.MonkeyPatch, **fields: object) -> SessionSpec:
    """Make this process a session, as boot does."""
    given = {"run": "r", "session": "r/s0001", "lineage": "l1", "generation": 1, "margin_seconds": 0.0, **fields}
    spec = SessionSpec(**{"scenarios": (ScenarioSpec("a", 300),), **given})  # type: ignore[arg-type]
    Path("spec.json").write_text(json.dumps(spec.to_json()))
    monkeypatch.setenv("CKPTSYNC_SESSION", "spec.json")
    return spec


def test_saves_at_multiples_and_at_the_target(tree: TrainingTree) -> None:
    assert train(tree.root, 250, every_steps=100) == "target"
    assert [save for save in saves() if save[1] != "best"] == [(100, "periodic"), (200, "periodic"), (250, "final")]


def test_saves_by_seconds(tree: TrainingTree) -> None:
    train(tree.root, 30, every_steps=None, every_seconds=0.0)
    assert saves() == [(10, "time"), (20, "time"), (30, "final")]


def test_the_next_session_goes_on_in_the_same_lineage(tree: TrainingTree) -> None:
    train(tree.root, 100)
    train(tree.root, 200)
    [start] = events("start")
    assert start["num_timesteps"] == 100
    assert start["resumed_from"]["num_timesteps"] == 100
    first, second = (s.manifest for s in sets.scan(tree.checkpoints) if s.num_timesteps in (100, 200))
    assert first is not None
    assert second is not None
    assert (second.lineage, second.generation, second.parent) == (first.lineage, 2, first.digest)
    assert start["training_seconds"] == first.metrics["training_seconds"]


def test_a_reached_target_is_nothing_to_do(tree: TrainingTree) -> None:
    train(tree.root, 100)
    assert train(tree.root, 100) == "target"
    assert saves() == []


def test_a_session_stops_after_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    specify(monkeypatch, max_steps=50)
    with TrainingSession.from_environment() as session:
        assert loop(session.scenario) == "steps"
    assert saves()[-1] == (50, "request")


def test_a_session_stops_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    specify(monkeypatch, budget_seconds=0.5, scenarios=(ScenarioSpec("a", 10**9),))
    with TrainingSession.from_environment() as session:
        assert loop(session.scenario) == "deadline"
    assert events("end")[0]["cause"] == "deadline"
    assert saves()[-1][1] == "request"


def test_a_request_by_file_stops_it(tree: TrainingTree) -> None:
    Path("ckptsync.stop").touch()
    assert train(tree.root, 10**9) == "request"


def test_a_request_for_a_save_is_answered_and_training_goes_on(
    tree: TrainingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptsync.training.stop._FILE_CHECK_SECONDS", 0.0)

    def ask(steps: int) -> None:
        if steps == 50:
            Path("ckptsync.save").touch()

    with TrainingSession(tree.root, "a", 100, save_best=False) as session:
        assert loop(session.scenario, at=ask) == "target"
    assert saves() == [(60, "request"), (100, "final")]
    assert not Path("ckptsync.save").exists()


def test_a_request_stays_until_a_save_has_answered_it(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._FILE_CHECK_SECONDS", 0.0)
    monkeypatch.setattr("ckptsync.training.saver._RETRY_SECONDS", 0.0)
    there: list[bool] = []

    def write(steps: int, file: BinaryIO) -> None:
        there.append(Path("ckptsync.save").exists())
        if steps == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        model_writer(steps)(file)

    with TrainingSession(tree.root, "a", 30, save_best=False) as session:
        steps = session.scenario.begin()
        Path("ckptsync.save").touch()
        while session.scenario.clean_point(steps, lambda file: write(steps, file)) is None:
            steps += 10
    assert there == [True, True, False]
    assert saves() == [(20, "request"), (30, "final")]


def test_a_request_that_nobody_could_answer_is_taken_away(tree: TrainingTree) -> None:
    with TrainingSession(tree.root, "a", 100):
        Path("ckptsync.save").touch()
    assert not Path("ckptsync.save").exists()


def test_a_save_says_how_long_it_held_training_up(tree: TrainingTree) -> None:
    train(tree.root, 10)
    [save] = events("save")
    assert save["stall_seconds"] == save["seconds"] > 0  # a loop of one's own waits for its saves


def test_what_goes_wrong_in_the_users_own_code_is_raised_at_once(tree: TrainingTree) -> None:
    def write(file: BinaryIO) -> None:
        raise LookupError("no such layer")

    with pytest.raises(LookupError), TrainingSession(tree.root, "a", 300, every_steps=100) as session:
        steps = session.scenario.begin()
        while session.scenario.clean_point(steps, write) is None:
            steps += 10
    assert events("failed-save")[0]["num_timesteps"] == 100


def test_a_second_signal_does_not_cut_a_save(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._ONE_WISH_SECONDS", 0.05)

    def write(steps: int, file: BinaryIO) -> None:
        if events("save"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        model_writer(steps)(file)

    def send(steps: int) -> None:
        if steps == 20:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    with pytest.raises(SystemExit) as left, TrainingSession(tree.root, "a", 1000, every_steps=10) as session:
        steps = session.scenario.begin()
        while session.scenario.clean_point(steps, lambda file: write(steps, file)) is None:
            steps += 10
            send(steps)
    assert left.value.code == 130
    assert saves()[-1] == (20, "emergency")


def test_a_second_signal_between_clean_points_ends_the_script(
    tree: TrainingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptsync.training.stop._ONE_WISH_SECONDS", 0.05)

    def send(steps: int) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        time.sleep(60)

    with pytest.raises(SystemExit) as left, TrainingSession(tree.root, "a", 1000, every_steps=10) as session:
        loop(session.scenario, at=send)
    assert left.value.code == 143
    assert read_session_info(Path("session_info.json"))["cause"] == "signal"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_seals_and_leaves_with_its_code(tree: TrainingTree, number: int, code: int) -> None:
    def send(steps: int) -> None:
        if steps == 50:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as left, TrainingSession(tree.root, "a", 10**6) as session:
        assert loop(session.scenario, at=send) == "signal"
    assert left.value.code == code
    assert saves()[-1][1] == "emergency"
    assert events("end")[0]["signal"] == signal.Signals(number).name
    told = read_session_info(Path("session_info.json"))
    assert (told["cause"], told["exit_code"], told["emergency_save"]) == ("signal", code, True)


def test_a_failed_periodic_save_is_told_and_tried_again(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.saver._RETRY_SECONDS", 0.0)
    full = {200, 210}

    def write(steps: int, file: BinaryIO) -> None:
        if steps in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        model_writer(steps)(file)

    with TrainingSession(tree.root, "a", 300, every_steps=100) as session:
        steps = session.scenario.begin()
        while session.scenario.clean_point(steps, lambda file: write(steps, file)) is None:
            steps += 10
    assert saves() == [(100, "periodic"), (220, "periodic"), (300, "final")]
    assert [event["num_timesteps"] for event in events("failed-save")] == [200, 210]
    assert "No space left" in events("failed-save")[0]["error"]


def test_a_failed_last_save_fails_the_session(tree: TrainingTree) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError), TrainingSession(tree.root, "a", 10) as session:
        steps = session.scenario.begin()
        while session.scenario.clean_point(steps, write) is None:
            steps += 10
    assert read_session_info(Path("session_info.json"))["cause"] == "error"


def test_scenarios_share_a_session_and_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    specify(monkeypatch, scenarios=(ScenarioSpec("a", 100), ScenarioSpec("b", 200)))
    for expected in (["a", "b"], []):
        with TrainingSession.from_environment() as session:
            trained = []
            for scenario in session.scenarios:
                trained.append(scenario.name)
                loop(scenario)
        assert trained == expected
    told = read_session_info(Path("session_info.json"))
    assert {name: block["num_timesteps"] for name, block in told["scenarios"].items()} == {"a": 100, "b": 200}
    assert told["training_completed"] is True


def test_a_stopped_session_begins_no_further_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    specify(monkeypatch, scenarios=(ScenarioSpec("a", 100), ScenarioSpec("b", 100)))

    def send(steps: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    trained = []
    with pytest.raises(SystemExit), TrainingSession.from_environment() as session:
        for scenario in session.scenarios:
            trained.append(scenario.name)
            loop(scenario, at=send)
    assert trained == ["a"]


def test_only_checkpoints_of_others_is_said_aloud(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    train(tree.root, 100, scenario="b")
    train(tree.root, 100, scenario="a")
    expected = "starting scenario a from zero: the tree holds checkpoints of b only"
    assert [event["message"] for event in events("warning")] == [expected]
    assert expected in capsys.readouterr().out


def test_a_promise_that_cannot_be_kept_is_an_error(monkeypatch: pytest.MonkeyPatch, tree: TrainingTree) -> None:
    train(Path("data/models"), 100, scenario="b")
    promised = {"session": None, "num_timesteps": 100, "digest": "sha256:" + "0" * 64}
    value = specify(monkeypatch).to_json() | {"heads": {"a": promised}}
    Path("spec.json").write_text(json.dumps(value))
    with pytest.raises(SystemExit) as left, TrainingSession.from_environment() as session:
        loop(session.scenario)
    assert left.value.code == 4


def test_fresh_begins_at_zero_and_keeps_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    train(Path("data/models"), 100)
    specify(monkeypatch, fresh=True, lineage="l2")
    with TrainingSession.from_environment() as session:
        loop(session.scenario)
    assert events("start")[-1]["num_timesteps"] == 0
    assert len(list(Path("data/.models.attic").rglob("a_checkpoint_100_steps.manifest.json"))) == 1


def test_falling_back_is_told(tree: TrainingTree) -> None:
    train(tree.root, 200, every_steps=100)
    model = tree.checkpoints / names.model_name("a_checkpoint_200_steps")
    model.write_bytes(model.read_bytes()[:-10])
    train(tree.root, 300)
    [start] = events("start")
    assert start["num_timesteps"] == 100
    assert any("a_checkpoint_200_steps" in reason for reason in start["fidelity"]["reasons"])
    assert events("warning")[0]["code"] == "set.fallback"


def test_the_metric_history_is_written(tree: TrainingTree) -> None:
    train(tree.root, 50)
    lines = [json.loads(line) for line in Path("metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["num_timesteps"] == 50
    assert lines[-1]["ep_rew_mean"] == 1.0
