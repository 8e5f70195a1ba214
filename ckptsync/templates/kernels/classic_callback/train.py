"""A plain stable-baselines3 script that knows nothing of ckptsync, and is resumed all the same.

It trains three scenarios one after another, saves with SB3's own CheckpointCallback, and looks for the newest
checkpoint of each scenario by its file name: the way many scripts do it.
"""

import re
from pathlib import Path

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback

CHECKPOINTS = Path("data/models/checkpoints")
SCENARIOS = {
    "traffic_light_control": "CartPole-v1",
    "ramp_metering": "MountainCar-v0",
    "adaptive_speed_control": "Acrobot-v1",
}
STEPS_PER_SESSION = 256  # each session adds so many to every scenario
SAVE_EVERY = 128


def newest_checkpoint(scenario: str) -> Path | None:
    def steps(path: Path) -> int:
        return int(re.search(r"_(\d+)_steps$", path.stem)[1])

    return max(CHECKPOINTS.glob(f"{scenario}_checkpoint_*_steps.zip"), key=steps, default=None)


def train(scenario: str, env_id: str) -> None:
    newest = newest_checkpoint(scenario)
    if newest is None:
        print(f"{scenario}: no checkpoint, starting from zero")
        model = PPO("MlpPolicy", env_id, n_steps=64, seed=0, device="cpu")
    else:
        model = PPO.load(newest, env=gymnasium.make(env_id), device="cpu")
        print(f"{scenario}: resumed from {newest.name} at {model.num_timesteps} steps")
    callback = CheckpointCallback(SAVE_EVERY, save_path=str(CHECKPOINTS), name_prefix=f"{scenario}_checkpoint")
    model.learn(STEPS_PER_SESSION, callback=callback, reset_num_timesteps=False)
    model.save(f"data/models/{scenario}_final.zip")
    print(f"{scenario}: at {model.num_timesteps} steps")


if __name__ == "__main__":
    for name, env_id in SCENARIOS.items():
        train(name, env_id)
