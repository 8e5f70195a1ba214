"""The combinations of algorithm, environment and wrappers whose resume is proved exact.

Libraries are imported when a case is built, so that a test may read the names without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Make = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One combination.

    Args:
        algorithm: name of the class in stable_baselines3 or sb3_contrib.
        env: makes the environment.
        policy: as the class takes it.
        arguments: more of the class's arguments; callables among them named `make_...` are called for the value.
        total: transitions of the whole training.
        callbacks: makes the user's callbacks.
        learn: more of learn()'s arguments.
    """

    algorithm: str
    env: Make
    policy: str = "MlpPolicy"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    total: int = 192
    callbacks: Callable[[], list[Any]] = list
    learn: Mapping[str, Any] = field(default_factory=dict)

    def algorithm_class(self) -> Any:
        """Return the class."""
        import sb3_contrib
        import stable_baselines3

        return getattr(stable_baselines3, self.algorithm, None) or getattr(sb3_contrib, self.algorithm)

    def built_arguments(self) -> dict[str, Any]:
        """Return the arguments with their values made."""
        made = {
            name.removeprefix("make_"): value() if name.startswith("make_") else value
            for name, value in self.arguments.items()
        }
        return {"seed": 3, "device": "cpu", "verbose": 0, **made}


# --- environments -----------------------------------------------------------------------------------------------------


def gym(name: str, n: int = 1, *wrappers: Any, start: str | None = None, **arguments: Any) -> Any:
    """Make Monitor > wrappers > environment, n times, by gymnasium's id or a class of `exact_envs`.

    `start` is the start method of workers; None: no workers.
    """
    import gymnasium
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from support import exact_envs

    more = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": start}} if start else {}

    def make() -> Any:
        env = getattr(exact_envs, name)(**arguments) if hasattr(exact_envs, name) else gymnasium.make(name, **arguments)
        for wrapper in wrappers:
            env = wrapper(env)
        return env

    return make_vec_env(make, n, seed=5, **more)


def normalised(make: Make, **arguments: Any) -> Any:
    from stable_baselines3.common.vec_env import VecNormalize

    return VecNormalize(make(), **arguments)


def stacked(make: Make, **arguments: Any) -> Any:
    from stable_baselines3.common.vec_env import VecFrameStack

    return VecFrameStack(make(), 3, **arguments)


def monitored(name: str, n: int) -> Any:
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor

    envs = DummyVecEnv([partial(gymnasium.make, name) for _ in range(n)])
    envs.seed(5)
    return VecMonitor(VecCheckNan(envs))


def extracted(make: Make, key: str) -> Any:
    from stable_baselines3.common.vec_env import VecExtractDictObs

    return VecExtractDictObs(make(), key)


def wind(env: Any) -> Any:
    from support.exact_envs import Wind

    return Wind(env)


def masker(env: Any) -> Any:
    from sb3_contrib.common.wrappers import ActionMasker

    return ActionMasker(env, lambda inner: inner.unwrapped.action_masks())


def short(env: Any) -> Any:
    from gymnasium.wrappers import TimeLimit

    return TimeLimit(env, 23)


def bits(n: int = 1, *, continuous: bool = False) -> Any:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.envs import BitFlippingEnv

    def make() -> Any:
        env = BitFlippingEnv(n_bits=4, continuous=continuous, max_steps=5)
        env.seed(8)  # draws goals from an unseeded space otherwise
        return env

    return make_vec_env(make, n, seed=5)


# --- parts ------------------------------------------------------------------------------------------------------------


def linear(start: float) -> Callable[[float], float]:
    return lambda left: start * left


def normal_noise(size: int) -> Any:
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise

    return NormalActionNoise(np.zeros(size), 0.2 * np.ones(size))


def drifting_noise(size: int) -> Any:
    import numpy as np
    from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise

    return OrnsteinUhlenbeckActionNoise(np.zeros(size), 0.2 * np.ones(size))


def vector_noise(size: int, n: int) -> Any:
    from stable_baselines3.common.noise import VectorizedActionNoise

    return VectorizedActionNoise(drifting_noise(size), n)


def her_class() -> Any:
    from stable_baselines3 import HerReplayBuffer

    return HerReplayBuffer


def recorder() -> list[Any]:
    """A user's callback with a state of plain values and of objects."""
    import numpy as np
    from stable_baselines3.common.callbacks import BaseCallback

    class Recorder(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[int, float] = {}
            self.odd: set[int] = set()
            self.dice = np.random.default_rng(2)

        def _on_step(self) -> bool:
            self.seen[self.num_timesteps] = float(self.dice.uniform())
            self.odd.add(self.n_calls % 7)
            return True

    return [Recorder()]


def evaluation(make: Make, **arguments: Any) -> list[Any]:
    from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnNoModelImprovement

    after = StopTrainingOnNoModelImprovement(max_no_improvement_evals=50, min_evals=1, verbose=0)
    settings = {"eval_freq": 23, "n_eval_episodes": 2, "verbose": 0, "log_path": "eval", **arguments}
    return [EvalCallback(make(), callback_after_eval=after, **settings)]


def own_checkpoints() -> list[Any]:
    from stable_baselines3.common.callbacks import CheckpointCallback

    return [CheckpointCallback(40, "own")]


# --- the combinations -------------------------------------------------------------------------------------------------

_SMALL = {"policy_kwargs": {"net_arch": [8]}}
_ON = {"n_steps": 16, **_SMALL}
_PPO = {**_ON, "batch_size": 16, "n_epochs": 2}
_OFF = {"learning_starts": 20, "buffer_size": 110, "batch_size": 8, **_SMALL}
_DQN = {**_OFF, "target_update_interval": 25, "train_freq": 2}
_CNN = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}, "net_arch": [8]}}
_MULTI = {"policy_kwargs": {"features_extractor_kwargs": {"cnn_output_dim": 8}, "net_arch": [8]}}
_HER = {"make_replay_buffer_class": her_class, "replay_buffer_kwargs": {"n_sampled_goal": 2}}
_HER_COPIED = {**_HER, "replay_buffer_kwargs": {"n_sampled_goal": 2, "copy_info_dict": True}}
_LSTM = {"policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}}

cartpole = partial(gym, "CartPole-v1")
pendulum = partial(gym, "Pendulum-v1")

CASES: dict[str, Case] = {
    # PPO
    "ppo-cartpole": Case("PPO", cartpole, arguments=_PPO),
    "ppo-cartpole-4": Case("PPO", partial(cartpole, 4), arguments=_PPO, total=320),
    "ppo-workers": Case("PPO", partial(cartpole, 3, wind, short, start="fork"), arguments=_PPO),
    "ppo-workers-of-a-server": Case("PPO", partial(cartpole, 2, wind, start="forkserver"), arguments=_PPO),
    "ppo-workers-normalised": Case("PPO", partial(normalised, partial(pendulum, 2, start="fork")), arguments=_PPO),
    "ppo-normalised": Case("PPO", partial(normalised, partial(pendulum, 4)), arguments=_PPO, total=320),
    "ppo-gsde": Case("PPO", pendulum, arguments={**_PPO, "use_sde": True}),
    "ppo-gsde-frequent": Case("PPO", partial(pendulum, 2), arguments={**_PPO, "use_sde": True, "sde_sample_freq": 5}),
    "ppo-images": Case("PPO", partial(gym, "Images"), "CnnPolicy", {**_PPO, **_CNN}),
    "ppo-images-stacked": Case("PPO", partial(stacked, partial(gym, "Images", 2)), "CnnPolicy", {**_PPO, **_CNN}),
    "ppo-dict": Case("PPO", partial(gym, "Mixed", 2), "MultiInputPolicy", {**_PPO, **_MULTI}),
    "ppo-dict-normalised": Case(
        "PPO",
        partial(normalised, partial(gym, "Mixed", 2), norm_obs_keys=["vector"]),
        "MultiInputPolicy",
        {**_PPO, **_MULTI},
    ),
    "ppo-schedules": Case(
        "PPO",
        cartpole,
        arguments={**_PPO, "learning_rate": linear(1e-2), "clip_range": linear(0.3), "clip_range_vf": 0.5},
    ),
    "ppo-wrappers": Case("PPO", partial(cartpole, 2, wind, short, wind), arguments=_PPO),
    "ppo-monitored": Case("PPO", partial(monitored, "CartPole-v1", 2), arguments=_PPO),
    "ppo-extracted": Case("PPO", partial(extracted, partial(gym, "Mixed", 2, image=False), "vector"), arguments=_PPO),
    "ppo-careless": Case("PPO", partial(gym, "Careless", 2), arguments=_PPO),
    "ppo-careless-workers": Case("PPO", partial(gym, "Careless", 2, start="fork"), arguments=_PPO),
    "ppo-evaluated": Case(
        "PPO", cartpole, arguments=_PPO, callbacks=partial(evaluation, partial(cartpole, 1), deterministic=False)
    ),
    "ppo-evaluated-normalised": Case(
        "PPO",
        partial(normalised, partial(pendulum, 2)),
        arguments=_PPO,
        total=256,
        callbacks=partial(evaluation, partial(normalised, pendulum, training=False), eval_freq=90),
    ),
    "ppo-callbacks": Case("PPO", partial(cartpole, 2), arguments=_PPO, callbacks=recorder),
    "ppo-own-checkpoints": Case("PPO", cartpole, arguments=_PPO, callbacks=own_checkpoints),
    "ppo-log-interval": Case("PPO", cartpole, arguments=_PPO, total=320, learn={"log_interval": 3}),
    "ppo-target-kl": Case("PPO", pendulum, arguments={**_PPO, "target_kl": 0.005, "ent_coef": 0.01}),
    # A2C
    "a2c-cartpole": Case("A2C", cartpole, arguments={**_SMALL}),
    "a2c-cartpole-4": Case("A2C", partial(cartpole, 4), arguments={**_SMALL, "learning_rate": linear(1e-2)}, total=320),
    "a2c-workers": Case("A2C", partial(cartpole, 2, start="fork"), arguments=_SMALL),
    "a2c-normalised": Case("A2C", partial(normalised, partial(pendulum, 2)), arguments=_SMALL),
    "a2c-gsde": Case("A2C", pendulum, arguments={**_SMALL, "use_sde": True}),
    "a2c-adam": Case("A2C", cartpole, arguments={**_SMALL, "use_rms_prop": False, "gae_lambda": 0.9}),
    "a2c-dict": Case("A2C", partial(gym, "Mixed", 1, image=False), "MultiInputPolicy", _SMALL),
    "a2c-images": Case("A2C", partial(gym, "Images"), "CnnPolicy", _CNN),
    # DQN and QRDQN
    "dqn-cartpole": Case("DQN", cartpole, arguments=_DQN),
    "dqn-cartpole-4": Case("DQN", partial(cartpole, 4), arguments=_DQN, total=320),
    "dqn-workers": Case("DQN", partial(cartpole, 2, start="fork"), arguments=_DQN),
    "dqn-optimised-memory": Case(
        "DQN",
        cartpole,
        arguments={
            **_DQN,
            "optimize_memory_usage": True,
            "replay_buffer_kwargs": {"handle_timeout_termination": False},
        },
    ),
    "dqn-n-steps": Case("DQN", cartpole, arguments={**_DQN, "n_steps": 3}),
    "dqn-images": Case("DQN", partial(stacked, partial(gym, "Images")), "CnnPolicy", {**_DQN, **_CNN}, total=96),
    "dqn-dict": Case("DQN", partial(gym, "Mixed", 1, image=False), "MultiInputPolicy", _DQN),
    "dqn-normalised": Case("DQN", partial(normalised, cartpole), arguments=_DQN),
    "dqn-her": Case("DQN", bits, "MultiInputPolicy", {**_DQN, **_HER}),
    "dqn-evaluated": Case("DQN", cartpole, arguments=_DQN, callbacks=partial(evaluation, partial(cartpole, 1))),
    "qrdqn-cartpole": Case("QRDQN", cartpole, arguments={**_DQN, "policy_kwargs": {"net_arch": [8], "n_quantiles": 5}}),
    "qrdqn-cartpole-4": Case("QRDQN", partial(cartpole, 4), arguments={**_DQN}, total=320),
    # SAC
    "sac-pendulum": Case("SAC", pendulum, arguments=_OFF),
    "sac-pendulum-4": Case("SAC", partial(pendulum, 4), arguments=_OFF, total=320),
    "sac-workers": Case("SAC", partial(pendulum, 2, start="fork"), arguments=_OFF),
    "sac-normalised": Case("SAC", partial(normalised, pendulum), arguments=_OFF),
    "sac-gsde": Case("SAC", pendulum, arguments={**_OFF, "use_sde": True, "use_sde_at_warmup": True}),
    "sac-gsde-frequent": Case("SAC", partial(pendulum, 2), arguments={**_OFF, "use_sde": True, "sde_sample_freq": 3}),
    "sac-n-steps": Case("SAC", partial(normalised, pendulum), arguments={**_OFF, "n_steps": 3}),
    "sac-episodes": Case("SAC", partial(pendulum, 1, short), arguments={**_OFF, "train_freq": (1, "episode")}),
    "sac-fixed-entropy": Case("SAC", pendulum, arguments={**_OFF, "ent_coef": 0.1, "learning_rate": linear(1e-2)}),
    "sac-dict": Case("SAC", partial(gym, "Mixed", 1, image=False, continuous=True), "MultiInputPolicy", _OFF),
    "sac-her": Case("SAC", partial(bits, continuous=True), "MultiInputPolicy", {**_OFF, **_HER}),
    "sac-her-copied": Case(
        "SAC",
        partial(bits, 2, continuous=True),
        "MultiInputPolicy",
        {**_OFF, **_HER_COPIED},
    ),
    "sac-noise": Case("SAC", pendulum, arguments={**_OFF, "make_action_noise": partial(drifting_noise, 1)}),
    "sac-evaluated": Case(
        "SAC", pendulum, arguments=_OFF, callbacks=partial(evaluation, partial(pendulum, 1, short), deterministic=False)
    ),
    # TD3 and DDPG
    "td3-normal-noise": Case("TD3", pendulum, arguments={**_OFF, "make_action_noise": partial(normal_noise, 1)}),
    "td3-drifting-noise": Case("TD3", pendulum, arguments={**_OFF, "make_action_noise": partial(drifting_noise, 1)}),
    "td3-vector-noise": Case(
        "TD3", partial(pendulum, 4), arguments={**_OFF, "make_action_noise": partial(vector_noise, 1, 4)}, total=320
    ),
    "td3-episodes": Case(
        "TD3",
        partial(pendulum, 1, short),
        arguments={**_OFF, "train_freq": (1, "episode"), "make_action_noise": partial(drifting_noise, 1)},
    ),
    "td3-normalised": Case("TD3", partial(normalised, pendulum), arguments={**_OFF, "policy_delay": 3}),
    "td3-workers": Case(
        "TD3", partial(pendulum, 2, start="fork"), arguments={**_OFF, "make_action_noise": partial(drifting_noise, 1)}
    ),
    "ddpg-pendulum": Case("DDPG", pendulum, arguments=_OFF),
    "ddpg-drifting-noise": Case("DDPG", pendulum, arguments={**_OFF, "make_action_noise": partial(drifting_noise, 1)}),
    "ddpg-pendulum-4": Case(
        "DDPG", partial(pendulum, 4), arguments={**_OFF, "make_action_noise": partial(normal_noise, 1)}, total=320
    ),
    # sb3-contrib
    "recurrent-cartpole": Case("RecurrentPPO", cartpole, "MlpLstmPolicy", {**_PPO, **_LSTM}),
    "recurrent-cartpole-4": Case("RecurrentPPO", partial(cartpole, 4), "MlpLstmPolicy", {**_PPO, **_LSTM}, total=320),
    "recurrent-normalised": Case(
        "RecurrentPPO", partial(normalised, partial(pendulum, 2)), "MlpLstmPolicy", {**_PPO, **_LSTM}
    ),
    "recurrent-dict": Case(
        "RecurrentPPO", partial(gym, "Mixed", 2, image=False), "MultiInputLstmPolicy", {**_PPO, **_LSTM}
    ),
    "tqc-pendulum": Case("TQC", pendulum, arguments=_OFF),
    "tqc-pendulum-4": Case("TQC", partial(pendulum, 4), arguments=_OFF, total=320),
    "tqc-gsde-normalised": Case("TQC", partial(normalised, pendulum), arguments={**_OFF, "use_sde": True}),
    "trpo-cartpole": Case("TRPO", cartpole, arguments={**_ON, "batch_size": 16}),
    "trpo-normalised": Case(
        "TRPO", partial(normalised, partial(pendulum, 4)), arguments={**_ON, "batch_size": 16}, total=320
    ),
    "trpo-gsde": Case("TRPO", pendulum, arguments={**_ON, "batch_size": 16, "use_sde": True}),
    "maskable-choices": Case("MaskablePPO", partial(gym, "Choices", 1, masker), arguments=_PPO),
    "maskable-choices-4": Case("MaskablePPO", partial(gym, "Choices", 4, masker), arguments=_PPO, total=320),
    "maskable-workers": Case("MaskablePPO", partial(gym, "Choices", 2, masker, start="fork"), arguments=_PPO),
    "crossq-pendulum": Case("CrossQ", pendulum, arguments=_OFF),
    "crossq-normalised": Case("CrossQ", partial(normalised, partial(pendulum, 2)), arguments=_OFF),
}
