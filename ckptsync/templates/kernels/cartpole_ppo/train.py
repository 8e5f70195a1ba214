"""PPO on CartPole, in four environments. Runs as it is, on its own or launched by ckptsync."""

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from ckptsync.training import TrainingSession


def main() -> None:
    with TrainingSession.from_environment(scenario="cartpole_ppo", total_timesteps=100_000) as session:
        env = make_vec_env("CartPole-v1", n_envs=4, seed=session.seed)
        model = session.load_or_create(
            PPO,
            "MlpPolicy",
            env,
            n_steps=session.params.get("n_steps", 128),
            learning_rate=session.params.get("learning_rate", 3e-4),
            policy_kwargs={"net_arch": session.params.get("net_arch", [64, 64])},
            device="cpu",
        )
        outcome = session.learn(model)
    print(f"stopped at {outcome.num_timesteps} steps: {outcome.cause}")


if __name__ == "__main__":
    main()
