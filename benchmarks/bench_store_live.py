"""What it costs a training that its checkpoints are sent to a store while it goes on.

python benchmarks/bench_store_live.py [ppo] [sac] [--seconds N] [--interval N] [--turn N]

The server runs on the same machine, so what it costs to receive and write them is counted in, unlike where it is another
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import storing
from storing import Bench
from timing import heading, machine, ratio, row

_GOAL = "at least 0.98"
_SESSION = ".ckptsync/sessions/bench/s0001"
_CONFIG = """
[runs.bench]
kernel = "bench"
runner = "local"
packages = []
total_timesteps = 1_000_000_000
[runs.bench.save]
every_time = "{interval:g}s"
save_best = false
keep_last = 2
[store]
url = "{url}"
"""
# One session takes turns, so that whatever else the machine does disturbs both alike: for some seconds its saves are not
# sent, then they are, then they are not, and so on. Saves themselves go on all the time. The first round warms up
_KERNEL = """
import json, time
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from ckptsync.training import TrainingSession, outbox, sb3
from pathlib import Path

torch.set_num_threads(1)
HOW = ["before", "live", "after"]
turns, sizes, offered = [], [], []
turn = {"how": "", "until": 0.0, "number": -1, "begun": 0.0, "at": 0}
session_does, offer, upload = sb3.Trainer.on_clean_point, outbox.Outbox.offer, outbox.upload


def on_clean_point(trainer):
    model, now = trainer.model, time.perf_counter()
    if model.num_timesteps - turn["at"] >= STEPS or not turn["how"]:
        if turns:
            turns[-1][1].append(now - turn["begun"])
        if now >= turn["until"]:
            turn.update(number=turn["number"] + 1, until=now + turn_seconds, how=HOW[turn["number"] % 3])
            turns.append((turn["how"], []))
        turn.update(begun=now, at=model.num_timesteps)
    session_does(trainer)


def offer_in_turn(box, manifest, *, best):
    offered.append(turn["how"])
    if turn["how"] == "live":
        offer(box, manifest, best=best)


def upload_and_count(*arguments, **others):
    sizes.append(upload(*arguments, **others))
    return sizes[-1]


sb3.Trainer.on_clean_point = on_clean_point
outbox.Outbox.offer, outbox.upload = offer_in_turn, upload_and_count
with TrainingSession.from_environment(scenario="bench") as session:
    params, seconds = session.params, session.params["seconds"]
    turn_seconds, until = params["turn"], time.perf_counter() + seconds
    network = {"policy_kwargs": {"net_arch": [256, 256]}, "device": "cpu"}
    if params["algorithm"] == "ppo":
        STEPS = 1024
        env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
        model = session.load_or_create(PPO, "MlpPolicy", env, n_steps=128, **network)
    else:
        STEPS = 100
        env = make_vec_env("Pendulum-v1", n_envs=1, seed=0)
        model = session.load_or_create(SAC, "MlpPolicy", env, buffer_size=100_000, **network)
    session.learn(model, lambda locals_, globals_: time.perf_counter() < until)
found = {"turns": turns[3:], "offered": offered.count("live"), "kept": len(offered), "sent_bytes": sum(sizes)}
Path("turns.json").write_text(json.dumps(found))
"""
_HOW = ("saves that are not sent, before", "saves that are sent", "saves that are not sent, after")


def live(bench: Bench, algorithm: str, seconds: float, interval: float, turn: float) -> None:
    """Train in turns with and without live push at the same interval between saves."""
    project = bench.folder / algorithm
    (project / "kernels" / "bench").mkdir(parents=True)
    (project / "kernels" / "bench" / "train.py").write_text(_KERNEL)
    (project / "ckptsync.toml").write_text(_CONFIG.format(interval=interval, url=bench.url(f"live-{algorithm}")))
    told = {"algorithm": f'"{algorithm}"', "seconds": seconds, "turn": turn}
    words = [word for name, value in told.items() for word in ("--set", f"{name}={value}")]
    bench.command(storing.CKPTSYNC, "init-store", cwd=project)()
    bench.command(storing.CKPTSYNC, "launch", *words, cwd=project, extra={"OMP_NUM_THREADS": "1"})()
    done: dict[str, Any] = json.loads(next((project / _SESSION).rglob("turns.json")).read_text())
    rounds = _rounds(done["turns"])
    unit = "a rollout of 1,024 steps" if algorithm == "ppo" else "100 steps"
    heading(f"{algorithm.upper()}: {unit}, in turns of {turn:g} s for {seconds:g} s, a save every {interval:g} s")
    for place, name in enumerate(_HOW):
        means = [each[place] * 1000 for each in rounds]
        row(name, f"{statistics.median(means):,.1f} ms  ({min(means):,.1f} to {max(means):,.1f})")
    row("saves, of them sent", f"{done['kept']}, {done['offered']} ({done['sent_bytes'] / 1e6:,.1f} MB)")
    _ratio(
        "throughput with live push / without", [(before + after) / 2 / live for before, live, after in rounds], _GOAL
    )
    _ratio("throughput without, after / before: the noise", [before / after for before, _, after in rounds], "none")


def _rounds(turns: list[tuple[str, list[float]]]) -> list[tuple[float, float, float]]:
    """Return the mean times of each round of three turns: before, live, after."""
    means = [statistics.mean(times) for _, times in turns if times]
    return [(means[at], means[at + 1], means[at + 2]) for at in range(0, len(means) - 2, 3)]


def _ratio(name: str, found: list[float], goal: str) -> None:
    ratio(name, statistics.median(found), goal)
    row("  the same of each round", f"{min(found):.2f} to {max(found):.2f}")


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithms", nargs="*", default=["ppo", "sac"])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--interval", type=float, default=3.0)
    parser.add_argument("--turn", type=float, default=10.0)
    given = parser.parse_args(arguments)
    if (why := storing.missing("weed")) is not None:
        raise SystemExit(why)
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder,
        storing.bench(Path(folder)) as bench,
    ):
        for algorithm in given.algorithms:
            live(bench, algorithm, given.seconds, given.interval, given.turn)


if __name__ == "__main__":
    print(machine())
    main(sys.argv[1:])
