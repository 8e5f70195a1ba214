"""SAC on Pendulum with VecNormalize and a replay buffer: both are part of every checkpoint."""

from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from ckptsync.training import TrainingSession


def main() -> None:
    with TrainingSession.from_environment(scenario="pendulum_sac", total_timesteps=20_000) as session:
        env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1, seed=session.seed))
        model = session.load_or_create(
            SAC,
            "MlpPolicy",
            env,
            buffer_size=session.params.get("buffer_size", 100_000),
            learning_starts=session.params.get("learning_starts", 100),
            policy_kwargs={"net_arch": session.params.get("net_arch", [64, 64])},
            device="cpu",
        )
        outcome = session.learn(model, log_interval=10)
    print(f"stopped at {outcome.num_timesteps} steps: {outcome.cause}")


if __name__ == "__main__":
    main()
