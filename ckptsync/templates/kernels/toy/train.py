"""A run without torch: it counts steps and saves small, real checkpoints. For trying things out, and for fast tests.

`launch --set` makes it misbehave: crash_at=300 (raises there), exit_at=300 (leaves at once, with code 1),
sleep=60 (waits before the first step), pause=0.01 (between steps), save=false (never saves), hidden=[32,32].
"""

import os
import time

from ckptsync.training import Scenario, TrainingSession
from ckptsync.training.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip

STEPS = 10  # one iteration of the loop is so many transitions


def train(scenario: Scenario) -> None:
    params = scenario.params
    hidden = params.get("hidden", [8, 8])
    steps = scenario.begin(mlp_signature(mlp_parameters(hidden=hidden), hidden))
    print(f"{scenario.name} begins at {steps}")
    time.sleep(params.get("sleep", 0))

    def write(file):
        parameters = mlp_parameters(hidden=hidden, seed=steps)
        write_sb3_zip(file, parameters, num_timesteps=steps, hidden=hidden)

    while params.get("save", True) or steps < scenario.total_timesteps:
        if params.get("save", True) and scenario.clean_point(steps, write, metrics={"ep_rew_mean": steps / 10}):
            break
        if steps == params.get("crash_at"):
            raise RuntimeError(f"crashed at {steps}, as told")
        if steps == params.get("exit_at"):
            os._exit(1)
        time.sleep(params.get("pause", 0))
        steps += STEPS


if __name__ == "__main__":
    with TrainingSession.from_environment(scenario="toy", total_timesteps=1000) as session:
        for scenario in session.scenarios:
            train(scenario)
