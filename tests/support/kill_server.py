"""A process that has imported torch and SB3, forks one training session for each request, and kills it.

Run as a script it reads one JSON request (a `kills.Kill` and a folder) for each line of its input and answers with one
JSON object for each. A fork costs a few milliseconds where a new process costs seconds, so hundreds of kills are cheap.

Everything that a session is made of is the same in each: only flags of this module, which no checkpoint holds, say
where it is slow, and when the killer is told that its moment has come.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import torch
import torch._dynamo  # the first forward of a policy would import it, in every child anew
from stable_baselines3 import PPO as RealPPO
from stable_baselines3 import SAC as RealSAC
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from ckptsync.training import TrainingSession, sb3, snapshot, writer

EVERY_STEPS = {"ppo": 512, "sac": 128}
_FAR = 10**9
_GIVE_UP_SECONDS = 60.0


class Notes:
    """Numbers that a session leaves in memory that it shares with the killer: they survive its death."""

    _FORM = struct.Struct("4q")

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, self._FORM.size)
        self._values = [0, 0, 0, 0]

    def note(self, place: int, value: int) -> None:
        """Keep a number: 0 num_timesteps, 1 the last clean point, 2 the kept point, 3 the last but one save."""
        self._values[place] = value
        self._shared[:] = self._FORM.pack(*self._values)

    def read(self) -> tuple[int, ...]:
        """Return all numbers."""
        return self._FORM.unpack(self._shared[:])


class Moment:
    """Tells the killer once, when its moment has come.

    Args:
        phase: where.
        entry: at which entry into that phase.
        seconds: how long the phase lasts from there.
        tell: tells the killer.
    """

    def __init__(self, phase: str, entry: int, seconds: float, tell: Callable[[], None]) -> None:
        self._phase = phase
        self._left = entry
        self._seconds = seconds
        self._tell = tell

    def enter(self, phase: str) -> None:
        """Pass through a phase."""
        if phase != self._phase:
            return
        self._left -= 1
        if self._left == 0:
            self._tell()
            if self._seconds:
                time.sleep(self._seconds)


# No attributes of what is captured: a resume would put the old ones back
moment = Moment("", 0, 0.0, lambda: None)
notes = Notes()
stop_at = _FAR


class Slow(gymnasium.Wrapper):
    """Passes through a phase at each step."""

    def __init__(self, env: gymnasium.Env, phase: str) -> None:
        super().__init__(env)
        self._phase = phase

    def step(self, action: Any) -> Any:
        """Do a step."""
        moment.enter(self._phase)
        return self.env.step(action)


class PPO(RealPPO):
    """Passes through the phase `train`."""

    def train(self) -> None:
        """Do the updates of a rollout."""
        moment.enter("train")
        super().train()


class SAC(RealSAC):
    """Passes through the phase `train`."""

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do some updates."""
        moment.enter("train")
        super().train(gradient_steps, batch_size)


class Watch(BaseCallback):
    """Notes how far training is; its `on_rollout_start` comes after the session's own."""

    def _on_rollout_start(self) -> None:
        notes.note(1, self.model.num_timesteps)

    def _on_step(self) -> bool:
        notes.note(0, self.model.num_timesteps)
        moment.enter("learn")
        return self.model.num_timesteps < stop_at


def _note_what_is_kept_and_saved() -> None:
    """Note every kept point, and pass through the phase `save` at every save; both do what they always do."""
    take, write, order = snapshot.Snapshots.take, writer.SetKeeper.write, sb3.Trainer._save_kept

    def noted_take(self: Any, *arguments: Any) -> Any:
        result = take(self, *arguments)
        notes.note(2, self.kept.num_timesteps if self.kept is not None else -1)
        return result

    def noted_write(self: Any, *arguments: Any, **words: Any) -> Any:
        moment.enter("save")
        return write(self, *arguments, **words)

    last = [0]

    def noted_order(self: Any, *arguments: Any, **words: Any) -> Any:
        notes.note(3, last[0])  # the one before this is sealed by now: there is one write at a time
        last[0] = self.model.num_timesteps
        return order(self, *arguments, **words)

    snapshot.Snapshots.take = noted_take
    writer.SetKeeper.write = noted_write
    sb3.Trainer._save_kept = noted_order


def train(algorithm: str, folder: Path, stop_after: int | None) -> None:
    """Run one session to its end, whichever that is."""
    global stop_at
    os.chdir(folder)
    session = TrainingSession(
        "tree", algorithm, _FAR, every_steps=EVERY_STEPS[algorithm], every_seconds=None, keep_last=2, seed=0
    )
    with session:
        model = _ppo(session) if algorithm == "ppo" else _sac(session)
        env_id = "CartPole-v1" if algorithm == "ppo" else "Pendulum-v1"
        judged = Monitor(Slow(gymnasium.make(env_id), "evaluate"))
        evaluation = EvalCallback(judged, n_eval_episodes=1, eval_freq=150, verbose=0)
        notes.note(0, model.num_timesteps)
        stop_at = _FAR if stop_after is None else model.num_timesteps + stop_after
        session.learn(model, CallbackList([Watch(), evaluation]))


def _ppo(session: TrainingSession) -> Any:
    env = make_vec_env(lambda: Slow(gymnasium.make("CartPole-v1"), "step"), n_envs=2, seed=0)
    network = {"net_arch": [16]}
    return session.load_or_create(
        PPO, "MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=4, policy_kwargs=network, device="cpu"
    )


def _sac(session: TrainingSession) -> Any:
    env = make_vec_env(lambda: Slow(gymnasium.make("Pendulum-v1"), "step"), n_envs=1, seed=0)
    network = {"net_arch": [16]}
    arguments = {"learning_starts": 30, "buffer_size": 1_000, "batch_size": 16, "train_freq": 4, "gradient_steps": 1}
    return session.load_or_create(SAC, "MlpPolicy", env, policy_kwargs=network, device="cpu", **arguments)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run one session in a child and kill it as asked; return how it ended and how far it had come."""
    global moment, notes
    notes = Notes()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        moment = Moment(request["phase"], request["entry"], request["stuck"], lambda: void(os.write(tell, b"!")))
        _live(request)
    os.close(tell)
    try:
        came = os.read(told, 1) == b"!"  # or it ended before its moment came
        if came:
            time.sleep(request["delay"])
        reached = notes.read()
        if came:
            os.kill(child, request["signal"])
            if request["again"]:
                time.sleep(request["again"])
                _kill_again(child, request["signal"])
        killed_at = time.monotonic()
        status = _wait(child)
    finally:
        os.close(told)
    if request["signal"] == signal.SIGKILL:
        reached = notes.read()  # what it had come to when it died
    return {
        "came": came,
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - killed_at,
        "num_timesteps": reached[0],
        "clean": reached[1],
        "kept": reached[2],
        "before": reached[3],
    }


def void(_value: object) -> None:
    """Drop a value."""


def _kill_again(child: int, number: int) -> None:
    try:
        os.kill(child, number)  # not reaped yet, so the number is still the child's
    except ProcessLookupError:
        return


def _wait(child: int) -> int:
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"the session did not end within {_GIVE_UP_SECONDS:g} s")


def _live(request: dict[str, Any]) -> None:
    """Be the child: never returns."""
    code = 1
    try:
        log = os.open(Path(request["folder"], "log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train(request["algorithm"], Path(request["folder"]), request["stop_after"])
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _note_what_is_kept_and_saved()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(serve(json.loads(line))) + "\n")
