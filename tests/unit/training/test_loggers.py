"""The training's log over sessions: no row twice, none lost, no number that begins anew."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ckptsync.core.layout import TrainingTree
from ckptsync.training import TrainingSession

pytestmark = pytest.mark.slow


class Halt(Exception):
    """Ends a session between two rows."""


def train(
    tree: TrainingTree, target: int, folder: str | None = "logs", halt: int | None = None, **arguments: Any
) -> Any:
    """Run one session of PPO with a log; `halt` is where an error ends it without a last save."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import configure

    class Talker(BaseCallback):
        """Logs a value of its own from a certain step on: a new column."""

        def _on_step(self) -> bool:
            if self.num_timesteps > 100:
                self.logger.record("own/value", self.num_timesteps)
            if halt is not None and self.num_timesteps >= halt:
                raise Halt
            return True

    log = {"tensorboard_log": arguments.pop("tensorboard_log", None)}
    learn = {name: arguments.pop(name) for name in ("log_interval",) if name in arguments}
    with TrainingSession(tree.root, "a", target, every_steps=32, seed=0) as session:
        env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
        model = session.load_or_create(
            PPO, "MlpPolicy", env, n_steps=16, n_epochs=1, policy_kwargs={"net_arch": [4]}, device="cpu", **log
        )
        if folder is not None:
            model.set_logger(configure(folder, ["csv", "json", "log"]))
        session.learn(model, Talker(), **learn)
    return model


def rows(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(folder) / "progress.csv").read_text().splitlines()))


def column(folder: str, name: str) -> list[int]:
    return [int(row[name]) for row in rows(folder)]


def test_the_files_hold_the_rows_of_all_sessions_once(tree: TrainingTree) -> None:
    with pytest.raises(Halt):
        train(tree, 320, halt=110)
    train(tree, 320)
    steps = list(range(32, 321, 32))
    assert column("logs", "time/total_timesteps") == steps
    assert column("logs", "time/iterations") == list(range(1, 11))
    lines = [json.loads(line) for line in Path("logs/progress.json").read_text().splitlines()]
    assert [line["time/total_timesteps"] for line in lines] == steps
    assert [row["own/value"] for row in rows("logs")][:2] == ["", ""]
    assert rows("logs")[-1]["own/value"] == "320"
    assert Path("logs/log.txt").read_text().count("total_timesteps") == 10


def test_a_machine_that_is_new_gets_the_rows_too(tree: TrainingTree) -> None:
    train(tree, 128, "first")
    train(tree, 256, "second")
    assert column("first", "time/total_timesteps") == [32, 64, 96, 128]
    assert column("second", "time/total_timesteps") == list(range(32, 257, 32))


def test_what_waited_for_the_next_row_is_in_it(tree: TrainingTree) -> None:
    train(tree, 320, "uncut")
    other = TrainingTree(tree.root.with_name("other"))
    train(other, 128, "cut")
    train(other, 320, "cut")
    clock = {"time/fps", "time/time_elapsed"}
    plain = [[{k: v for k, v in row.items() if k not in clock} for row in rows(name)] for name in ("uncut", "cut")]
    assert plain[0] == plain[1]


def test_the_interval_counts_over_sessions(tree: TrainingTree) -> None:
    train(tree, 128, log_interval=3)
    train(tree, 320, log_interval=3)
    assert column("logs", "time/iterations") == [3, 6, 9]


def test_elapsed_time_and_speed_are_those_of_all_sessions(tree: TrainingTree) -> None:
    train(tree, 128)
    model = train(tree, 160)
    assert model._num_timesteps_at_start == 0
    assert int(rows("logs")[-1]["time/fps"]) > 0


def test_rows_that_are_there_already_stay(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    from ckptsync.training.loggers import _LogText

    class Writer:
        def __init__(self) -> None:
            self.file = Path("own.csv").open("w+")  # noqa: SIM115 - the writer keeps it open
            self.file.write("a\n1\n")
            self.file.flush()

    writer = Writer()
    _LogText(writer).put_back(b"a\n0\n")
    assert Path("own.csv").read_text() == "a\n1\n"
    assert "holds rows of this session already" in capsys.readouterr().out
    writer.file.close()


def test_tensorboard_sees_every_step_once(tree: TrainingTree) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Halt):
        train(tree, 320, None, halt=150, tensorboard_log="board")
    train(tree, 320, None, tensorboard_log="board")
    [folder] = Path("board").iterdir()
    assert len(list(folder.iterdir())) == 2
    board = EventAccumulator(str(folder))
    board.Reload()
    assert [event.step for event in board.Scalars("time/fps")] == list(range(32, 321, 32))


def test_an_interval_asks_in_place_of_the_loop() -> None:
    from ckptsync.training.loggers import LogInterval

    interval = LogInterval(4)
    assert [iteration for iteration in range(1, 9) if iteration % interval == 0] == [4, 8]
    interval.before = 3
    assert [iteration for iteration in range(1, 9) if iteration % interval == 0] == [1, 5]
