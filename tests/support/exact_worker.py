"""Runs all sessions of many cases, each in a process of its own, forked from one that has only imported what they need.

`python -m support.exact_worker FOLDER SEED CASE...`: a session is a number, or `uncut` for plain SB3 without any of
ckptsync. One line of JSON for each session of a case tells how the process ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.exact_cases import CASES, Case

CUTS = 3
SESSIONS = ("uncut", *map(str, range(CUTS + 1)))
_LONGEST_SECONDS = 60
_NEVER = 1 << 60
# How a session ends -> what the process must leave with
ENDS = {"kill": -signal.SIGKILL, "exit": 77, "rollout-end": -signal.SIGKILL, "term": 143, "callback": 0, "error": 78}


@dataclass(frozen=True)
class Plan:
    """Where and how a case is cut.

    Args:
        cuts: num_timesteps at which the sessions end, rising.
        ends: how; keys of ENDS.
        fresh: every session has a working folder of its own, as on a machine that is new each time.
    """

    cuts: tuple[int, ...]
    ends: tuple[str, ...]
    fresh: bool


def plan_of(name: str, seed: str) -> Plan:
    """Return the plan of a case, always the same for the same seed."""
    draw = random.Random(f"{seed}/{name}")
    total = CASES[name].total
    # After SIGTERM a session goes on to the end of its rollout: that must not be the target yet
    anywhere = range(2, total * 2 // 3)
    late = draw.choice(_saved(total))
    cuts = sorted([late, *draw.sample([cut for cut in anywhere if cut != late], CUTS - 1)])
    return Plan(tuple(cuts), tuple(draw.choice(list(ENDS)) for _ in cuts), draw.random() < 0.5)


def _saved(total: int) -> range:
    """Return the steps at which a session has saved something, so that the next one resumes."""
    return range(total // 3, total * 2 // 3)


def end_of(name: str, seed: str, session: str) -> int:
    """Return the exit status that a session must have."""
    plan = plan_of(name, seed)
    if session == "uncut" or int(session) == CUTS:
        return 0
    return ENDS[plan.ends[int(session)]]


def main(folder: Path, seed: str, names: list[str]) -> None:
    """Run every session of each case in a child."""
    import sb3_contrib  # noqa: F401 - imported once, for all children
    import torch
    import torch._dynamo  # the first optimizer would import it, in every child anew

    torch.set_num_threads(1)
    for session in SESSIONS:
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                os.setsid()
                signal.alarm(_LONGEST_SECONDS)
                os._exit(_child(folder / name, name, seed, session))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with suppress(ProcessLookupError):  # workers that were forked outlive a parent that was killed
                os.killpg(child, signal.SIGKILL)
            seen = {"session": session, "case": name, "status": status, **_told(folder, name, seed, session)}
            sys.stdout.write(json.dumps(seen) + "\n")


def _working_folder(folder: Path, plan: Plan, session: str) -> Path:
    return folder / ("uncut" if session == "uncut" else f"work-{session}" if plan.fresh else "work")


def _told(folder: Path, name: str, seed: str, session: str) -> dict[str, Any]:
    """Return what the session has said about its resume; nothing when it began from zero."""
    events = _working_folder(folder / name, plan_of(name, seed), session) / "events.jsonl"
    for line in events.read_text().splitlines() if events.exists() else []:
        event = json.loads(line)
        if event["event"] == "start" and event["fidelity"] is not None:
            return {"at": event["num_timesteps"], **event["fidelity"]}
    return {}


def _child(folder: Path, name: str, seed: str, session: str) -> int:
    log = os.open(folder / f"session-{session}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.simplefilter("ignore")
    _scramble()
    plan = plan_of(name, seed)
    working = _working_folder(folder, plan, session)
    working.mkdir(exist_ok=True)
    os.chdir(working)
    try:
        if session == "uncut":
            _uncut(CASES[name], folder)
        else:
            _session(CASES[name], folder, plan, int(session))
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except Broken:
        code = ENDS["error"]
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _scramble() -> None:
    """Give the children unlike generators: what is not put back must not be equal by chance."""
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


class Broken(Exception):
    """The simulator's failure."""


def _logger() -> Any:
    from stable_baselines3.common.logger import configure

    return configure("logs", ["csv", "json"])


def _uncut(case: Case, folder: Path) -> None:
    from support.exact_results import save

    callbacks = case.callbacks()
    model = case.algorithm_class()(case.policy, case.env(), **case.built_arguments())
    model.set_logger(_logger())
    model.learn(case.total, callback=callbacks, **case.learn)
    save(model, callbacks, folder / "uncut.npz")


def _session(case: Case, folder: Path, plan: Plan, index: int) -> None:
    from ckptsync.training import TrainingSession
    from support.exact_results import save

    last = index == len(plan.cuts)
    callbacks = case.callbacks()
    seals = folder / "models" / "checkpoints"
    cutter = _cutter(_NEVER, "callback") if last else _cutter(plan.cuts[index], plan.ends[index], case.total, seals)
    with TrainingSession(folder / "models", "case", case.total, every_steps=max(8, case.total // 9)) as session:
        model = session.load_or_create(case.algorithm_class(), case.policy, case.env(), **case.built_arguments())
        model.set_logger(_logger())
        session.learn(model, [*callbacks, cutter], **case.learn)
    if last:
        save(model, callbacks, folder / "cut.npz")


def _wait_for_a_seal(folder: Path) -> None:
    """Let the writer's thread come to its end once: a cut before any save would prove nothing."""
    for _ in range(250):
        if list(folder.glob("*.manifest.json")):
            return
        time.sleep(0.02)


def _cutter(at: int, end: str, total: int = _NEVER, seals: Path = Path()) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class Cutter(BaseCallback):
        """Ends the session at a step; keeps no state."""

        def _on_step(self) -> bool:
            if self.num_timesteps < at:
                return True
            if self.num_timesteps in _saved(total):
                _wait_for_a_seal(seals)
            if end == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if end == "exit":
                os._exit(ENDS["exit"])
            if end == "error":
                raise Broken
            if end == "term":
                os.kill(os.getpid(), signal.SIGTERM)
            return end != "callback"

        def _on_rollout_end(self) -> None:
            if self.num_timesteps >= at and end == "rollout-end":
                os.kill(os.getpid(), signal.SIGKILL)

    return Cutter()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2], sys.argv[3:])
