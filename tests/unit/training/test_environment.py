"""Environments, captured and put back in place: in this process and in workers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def chain(kind: str, n: int = 2, start: str | None = None, **arguments: Any) -> Any:
    from support.exact_cases import gym, short, wind

    return gym(kind, n, wind, short, wind, start=start, **arguments)


@pytest.fixture(params=[None, "fork"], ids=["in place", "workers"])
def start(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.fixture
def close() -> Iterator[list[Any]]:
    opened: list[Any] = []
    yield opened
    for env in opened:
        env.close()


def play(env: Any, steps: int) -> list[Any]:
    """Step with random actions of the action space; what comes back is all that anybody can see."""
    import numpy as np

    seen = []
    for _ in range(steps):
        observations, rewards, dones, infos = env.step(
            np.array([env.action_space.sample() for _ in range(env.num_envs)])
        )
        seen.append((observations.tolist(), rewards.tolist(), dones.tolist(), [info.get("episode") for info in infos]))
        for info in infos:
            if "episode" in info:
                info["episode"].pop("t")
    return seen


@pytest.mark.parametrize("kind", ["CartPole-v1", "Careless"])
def test_nested_wrappers_go_on_as_they_were(kind: str, start: str | None, close: list[Any]) -> None:
    from ckptsync.training.environment import EnvironmentCapture

    first, second = chain(kind, start=start), chain(kind, start=start)
    close += [first, second]
    first.reset()
    play(first, 31)
    taken = EnvironmentCapture({"training": first})
    blob = taken.capture()
    assert blob is not None, taken.reasons
    generators = _generators()
    expected = play(first, 60)
    second.reset()
    play(second, 7)
    other = EnvironmentCapture({"training": second})
    assert other.kinds == taken.kinds
    assert any(kind.endswith("exact_envs.Wind") for kind in other.kinds)
    assert other.put_back(blob) == ()
    _put_generators(generators)
    assert play(second, 60) == expected


def _generators() -> Any:
    import numpy as np

    return np.random.get_state()


def _put_generators(stored: Any) -> None:
    import numpy as np

    np.random.set_state(stored)


def test_what_cannot_be_pickled_is_named_and_harms_nobody(start: str | None, close: list[Any]) -> None:
    from ckptsync.training.environment import EnvironmentCapture

    env = chain("CartPole-v1", start=start)
    close.append(env)
    env.reset()
    if start is None:
        env.envs[0].unwrapped.gate = threading.Lock()
    else:
        env.env_method("set_wrapper_attr", "gate", _Lock(), indices=[0])
    taken = EnvironmentCapture({"training": env})
    assert taken.capture() is None
    [reason] = taken.reasons
    assert "attribute 'gate' cannot be pickled" in reason
    assert len(play(env, 3)) == 3


class _Lock:
    """Becomes something that cannot be pickled when it is unpickled in the worker."""

    def __reduce__(self) -> Any:
        return (threading.Lock, ())


def test_a_changed_setting_of_the_script_wins_and_is_told(start: str | None, close: list[Any]) -> None:
    from support.exact_cases import gym

    from ckptsync.training.environment import EnvironmentCapture

    first, second = gym("Images", 2, start=start, length=9), gym("Images", 2, start=start, length=13)
    close += [first, second]
    taken = EnvironmentCapture({"training": first})
    first.reset()
    play(first, 3)
    other = EnvironmentCapture({"training": second})
    told = other.put_back(taken.capture() or b"")
    assert len(told) == 2
    assert all(words.endswith("_length was 9, is 13") for words in told)
    assert second.env_method("get_wrapper_attr", "_length") == [13, 13]
    assert second.env_method("get_wrapper_attr", "_step") == [3, 3]


def test_what_training_has_made_since_the_capture_goes_away() -> None:
    from ckptsync.training.environment import EnvironmentCapture

    env = chain("Images", 1)
    taken = EnvironmentCapture({"training": env})
    blob = taken.capture()
    env.envs[0].unwrapped.leftover = [1]
    assert taken.put_back(blob or b"") == ()
    assert not hasattr(env.envs[0].unwrapped, "leftover")


def test_what_training_has_removed_before_the_capture_goes_away_again() -> None:
    from ckptsync.training.environment import EnvironmentCapture

    first, second = chain("Images", 1), chain("Images", 1)
    first.envs[0].unwrapped.once = second.envs[0].unwrapped.once = [1]
    taken = EnvironmentCapture({"training": first})
    del first.envs[0].unwrapped.once
    assert EnvironmentCapture({"training": second}).put_back(taken.capture() or b"") == ()
    assert not hasattr(second.envs[0].unwrapped, "once")


def test_attributes_that_the_script_has_added_stay_and_are_told(start: str | None, close: list[Any]) -> None:
    from support.exact_cases import gym

    from ckptsync.training.environment import EnvironmentCapture

    first, second = gym("Images", 1, start=start), gym("Images", 1, start=start)
    close += [first, second]
    first.reset()
    blob = EnvironmentCapture({"training": first}).capture()
    second.set_attr("at_once", [1])
    other = EnvironmentCapture({"training": second})
    second.reset()
    second.set_attr("in_reset", 2)
    told = other.put_back(blob or b"")
    assert [words.rpartition(": ")[2] for words in told] == ["at_once is new", "in_reset is new"]
    assert second.get_attr("at_once") == [[1]]
    assert second.get_attr("in_reset") == [2]


def test_functions_stay_those_of_the_script() -> None:
    from support.exact_envs import Choices, Wind

    from ckptsync.training.environment import EnvironmentCapture

    first, second = Wind(Choices(), lambda reward: reward), Wind(Choices(), lambda reward: 2 * reward)
    EnvironmentCapture({"e": second}).put_back(EnvironmentCapture({"e": first}).capture() or b"")
    assert second._shape(1.0) == 2.0


def test_wrappers_that_remember_how_they_were_made_are_captured() -> None:
    from gymnasium.wrappers import TransformReward
    from support.exact_envs import Choices

    from ckptsync.training.environment import EnvironmentCapture

    taken = EnvironmentCapture({"e": TransformReward(Choices(), lambda reward: 3 * reward)})
    assert taken.capture() is not None, taken.reasons


def test_what_attributes_share_stays_shared() -> None:
    from support.exact_envs import Choices

    from ckptsync.training.environment import EnvironmentCapture

    first, second = Choices(), Choices()
    first.one = first.other = [1]  # type: ignore[attr-defined]
    first.self = first  # type: ignore[attr-defined]
    EnvironmentCapture({"e": second}).put_back(EnvironmentCapture({"e": first}).capture() or b"")
    assert second.one is second.other  # type: ignore[attr-defined]
    assert second.self is second  # type: ignore[attr-defined]


def test_a_worker_that_is_gone_is_told() -> None:
    from ckptsync.training.environment import EnvironmentCapture

    env = chain("CartPole-v1", 1, start="fork")
    env.reset()
    taken = EnvironmentCapture({"training": env})
    blob = taken.capture()
    env.processes[0].kill()
    env.processes[0].join()
    [told] = taken.put_back(blob or b"")
    assert told.startswith("a worker of the environments is gone")


def test_an_unknown_kind_of_environment_is_told() -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

    from ckptsync.training.environment import EnvironmentCapture

    class Elsewhere(VecEnv):
        reset = step_async = step_wait = close = get_attr = set_attr = env_method = env_is_wrapped = None  # type: ignore[assignment]

        def __init__(self, like: DummyVecEnv) -> None:
            self.num_envs = like.num_envs

    taken = EnvironmentCapture({"training": Elsewhere(chain("CartPole-v1"))})
    assert taken.capture() is None
    assert taken.reasons == ("Elsewhere is of a kind whose environments cannot be reached",)
