"""SB3 files: what is read out of them, and how damage in `data` is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.hostile import (
    POLICY,
    FakeTensor,
    Pickle,
    blockers,
    box,
    call,
    discrete,
    named,
    sb3_data,
    sb3_file,
    sb3_parts,
    verdict,
    zeros,
)

from ckptsync.core.findings import Verdict
from ckptsync.core.readers import ModelReport

Read = Callable[..., ModelReport]


def test_everything_is_read(read: Read) -> None:
    report = read(sb3_file())
    signature = report.signature
    assert report.format == "sb3"
    assert (signature.algorithm, signature.policy) == ("PPO", "ActorCriticPolicy")
    assert signature.observation_space == {"kind": "box", "shape": [4], "dtype": "float32"}
    assert signature.action_space == {"kind": "discrete", "n": 2}
    assert signature.net_arch == [8]
    assert list(signature.parameters) == list(POLICY)
    assert report.num_timesteps == 2048
    assert report.versions == {"python": "3.11.7", "stable_baselines3": "2.9.2", "torch": "2.13.0"}
    assert report.functions == ()
    assert report.not_checked == ()


def test_content_ignores_times_and_texts_and_sees_weights(read: Read) -> None:
    first = read(sb3_file(start_time=1.0))
    later = read(sb3_file(start_time=2.0))
    assert first.digest != later.digest
    assert first.content == later.content
    other = {**POLICY, "value_net.bias": FakeTensor((1,), [0.25])}
    assert read(sb3_file(other)).content != first.content


def space_fields(program: Pickle) -> dict[str, Any]:
    return {"observation_space": program}


def integers(*numbers: int) -> Pickle:
    dtype = call("numpy", "dtype", "i8", False, True).value((3, "<", None, None, None, -1, -1, 0)).raw(b"b")
    raw = b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)
    return call("numpy._core.numeric", "_frombuffer", raw, dtype, (len(numbers),), "C")


def old_integers(*numbers: int) -> Pickle:
    dtype = call("numpy", "dtype", "i8", False, True)
    raw = b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)
    empty = call("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), (0,), b"b")
    return empty.value((1, (len(numbers),), dtype, False, raw)).raw(b"b")


def scalar(number: int) -> Pickle:
    dtype = call("numpy", "dtype", "i8", False, True)
    return call("numpy.core.multiarray", "scalar", dtype, number.to_bytes(8, "little", signed=True))


def space(path: str, state: Any) -> Pickle:
    module, _, name = path.rpartition(".")
    return Pickle().named(module, name).raw(b")\x81").value(state).raw(b"b")


SPACES = [
    (box(3), {"kind": "box", "shape": [3], "dtype": "float32"}),
    (
        space("gym.spaces.box.Box", {"shape": (84, 84, 4), "dtype": call("numpy", "dtype", "u1", False, True)}),
        {"kind": "box", "shape": [84, 84, 4], "dtype": "uint8"},
    ),
    (discrete(5), {"kind": "discrete", "n": 5}),
    (
        space("gymnasium.spaces.discrete.Discrete", {"n": scalar(3), "start": scalar(-1)}),
        {"kind": "discrete", "n": 3, "start": -1},
    ),
    (
        space("gymnasium.spaces.multi_discrete.MultiDiscrete", {"nvec": integers(2, 3)}),
        {"kind": "multi_discrete", "nvec": [2, 3]},
    ),
    (
        space("gym.spaces.multi_discrete.MultiDiscrete", {"nvec": old_integers(4, 5)}),
        {"kind": "multi_discrete", "nvec": [4, 5]},
    ),
    (space("gymnasium.spaces.multi_binary.MultiBinary", {"n": 4}), {"kind": "multi_binary", "n": 4}),
    (space("gymnasium.spaces.multi_binary.MultiBinary", {"n": (2, 2)}), {"kind": "multi_binary", "n": [2, 2]}),
    (
        space("gymnasium.spaces.tuple.Tuple", {"spaces": (discrete(2), box(1))}),
        {
            "kind": "tuple",
            "spaces": [{"kind": "discrete", "n": 2}, {"kind": "box", "shape": [1], "dtype": "float32"}],
        },
    ),
    (
        space("gymnasium.spaces.dict.Dict", {"spaces": {"a": box(1)}}),
        {"kind": "dict", "spaces": {"a": {"kind": "box", "shape": [1], "dtype": "float32"}}},
    ),
    (
        space(
            "gym.spaces.dict.Dict", {"spaces": call("collections", "OrderedDict").value("a").value(box(1)).raw(b"s")}
        ),
        {"kind": "dict", "spaces": {"a": {"kind": "box", "shape": [1], "dtype": "float32"}}},
    ),
    (space("gymnasium.spaces.text.Text", {"x": 1}), {"kind": "unknown", "class": "gymnasium.spaces.text.Text"}),
    (space("gymnasium.spaces.box.Box", {}), {"kind": "unknown", "class": "gymnasium.spaces.box.Box"}),
    (Pickle().value(7), {"kind": "unknown", "class": "int"}),
]


@pytest.mark.parametrize(("program", "expected"), SPACES)
def test_spaces_old_and_new(read: Read, program: Pickle, expected: dict[str, Any]) -> None:
    report = read(sb3_file(observation_space=program))
    assert report.findings == ()
    assert report.signature.observation_space == expected


ALGORITHMS = [
    ("stable_baselines3.common.policies", "ActorCriticPolicy", {}, "PPO"),
    ("stable_baselines3.common.policies", "MultiInputActorCriticPolicy", {"cg_max_steps": 15}, "TRPO"),
    ("stable_baselines3.common.policies", "ActorCriticPolicy", {"n_epochs": ..., "clip_range": ...}, "A2C"),
    ("stable_baselines3.common.policies", "ActorCriticPolicy", {"n_epochs": ..., "vf_coef": ...}, None),
    ("stable_baselines3.dqn.policies", "DQNPolicy", {}, "DQN"),
    ("sb3_contrib.common.recurrent.policies", "RecurrentActorCriticPolicy", {}, "RecurrentPPO"),
    ("sb3_contrib.common.maskable.policies", "MaskableActorCriticPolicy", {}, "MaskablePPO"),
]


@pytest.mark.parametrize(("module", "name", "changes", "expected"), ALGORITHMS)
def test_algorithm_is_inferred_only_where_sure(
    read: Read, module: str, name: str, changes: dict[str, Any], expected: str | None
) -> None:
    parts = sb3_parts()
    fields = sb3_data(policy_class=named(module, name), **{k: v for k, v in changes.items() if v is not ...})
    parts.members["data"] = json.dumps({k: v for k, v in fields.items() if changes.get(k) is not ...}).encode()
    report = read(parts.pack())
    assert report.findings == ()
    assert (report.signature.algorithm, report.signature.policy) == (expected, name)


@pytest.mark.parametrize(
    ("policy", "fields", "expected"),
    [
        ("stable_baselines3.td3.policies.TD3Policy", {"policy_delay": 2}, "TD3"),
        ("stable_baselines3.td3.policies.TD3Policy", {"policy_delay": 1, "target_noise_clip": 0.0}, "DDPG"),
        ("stable_baselines3.sac.policies.SACPolicy", {"ent_coef": 0.1}, "SAC"),
        ("sb3_contrib.tqc.policies.TQCPolicy", {"ent_coef": 0.1}, "TQC"),
    ],
)
def test_two_optimizers_are_expected_of_actor_and_critic(
    read: Read, policy: str, fields: dict[str, Any], expected: str
) -> None:
    module, _, name = policy.rpartition(".")
    parts = sb3_parts(policy_class=named(module, name), **fields)
    report = read(parts.pack())
    assert report.signature.algorithm == expected
    missing = [subject for code, subject in blockers(report) if code == "archive.missing-member"]
    assert missing == ["actor.optimizer.pth", "critic.optimizer.pth"]
    optimizer = parts.members.pop("policy.optimizer.pth")
    parts.members |= {"actor.optimizer.pth": optimizer, "critic.optimizer.pth": optimizer}
    assert blockers(read(parts.pack())) == []


def test_learned_entropy_has_an_optimizer_too(read: Read) -> None:
    policy = named("stable_baselines3.sac.policies", "SACPolicy")
    report = read(sb3_file(policy_class=policy, ent_coef="auto_0.1"))
    assert ("archive.missing-member", "ent_coef_optimizer.pth") in blockers(report)


NETWORKS: list[tuple[dict[str, tuple[int, ...]], object]] = [
    (
        {"mlp_extractor.policy_net.0.weight": (64, 4), "mlp_extractor.policy_net.2.weight": (32, 64)},
        {"pi": [64, 32], "vf": []},
    ),
    (
        {
            "mlp_extractor.shared_net.0.weight": (16, 4),
            "mlp_extractor.policy_net.0.weight": (8, 16),
            "mlp_extractor.value_net.0.weight": (8, 16),
        },
        [16, 8],
    ),
    (
        {
            "actor.latent_pi.0.weight": (256, 3),
            "actor.latent_pi.2.weight": (128, 256),
            "actor.mu.weight": (1, 128),
            "critic.qf0.0.weight": (256, 4),
            "critic.qf0.2.weight": (128, 256),
            "critic.qf0.4.weight": (1, 128),
        },
        [256, 128],
    ),
    (
        {"actor.mu.0.weight": (400, 3), "actor.mu.2.weight": (1, 400), "critic.qf0.0.weight": (1, 4)},
        {"pi": [400], "qf": []},
    ),
    ({"q_net.q_net.0.weight": (64, 4), "q_net.q_net.2.weight": (2, 64), "q_net_target.q_net.0.weight": (64, 4)}, [64]),
    ({"quantile_net.quantile_net.0.weight": (64, 4), "quantile_net.quantile_net.2.weight": (50, 64)}, [64]),
    ({"action_net.0.weight": (2, 4)}, []),
    (
        {"mlp_extractor.policy_net.10.weight": (1, 2), "mlp_extractor.policy_net.2.weight": (2, 4)},
        {"pi": [2, 1], "vf": []},
    ),
    ({"something.else": (3,)}, None),
]


@pytest.mark.parametrize(("shapes", "expected"), NETWORKS)
def test_net_arch_is_read_off_the_parameters(read: Read, shapes: dict[str, tuple[int, ...]], expected: object) -> None:
    report = read(sb3_file({name: zeros(*shape) for name, shape in shapes.items()}))
    assert report.signature.net_arch == expected


@pytest.mark.parametrize("steps", [None, -1, 1.5, "2048", True, 2**63, [1]])
def test_num_timesteps_must_be_a_number_of_steps(read: Read, steps: object) -> None:
    report = read(sb3_file(num_timesteps=steps))
    assert blockers(report) == [("json.damaged", "data: num_timesteps")]
    assert report.num_timesteps is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"num_timesteps": 1, "num_timesteps": 2}',
        b'\xef\xbb\xbf{"num_timesteps": 1}',
        b'{"num_timesteps": 1}\xff',
        b'{"num_timesteps": 1} {}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"num_timesteps": ' + b"9" * 5000 + b"}",
        "{'num_timesteps': 1}".encode("utf-16"),
    ],
)
def test_data_that_is_no_strict_json_is_damaged(read: Read, text: bytes) -> None:
    parts = sb3_parts()
    parts.members["data"] = text
    report = read(parts.pack())
    assert blockers(report) == [("json.damaged", "data")]
    assert verdict(report) is Verdict.CORRUPT
    assert report.signature.parameters, "the weights are read all the same"


def test_infinite_attributes_are_what_sb3_writes(read: Read) -> None:
    assert read(sb3_file(max_grad_norm=float("inf"), target_kl=float("nan"))).findings == ()


def test_too_large_data_is_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptsync.core.readers import limits

    monkeypatch.setattr(limits, "MAX_JSON_BYTES", 100)
    assert ("format.too-large", "data") in blockers(read(sb3_file()))


def test_versions_in_old_and_odd_texts(read: Read) -> None:
    parts = sb3_parts()
    parts.members["system_info.txt"] = b"OS: Linux\nPython: 3.7.10\nPyTorch: 1.10.0\nGym: 0.19.0\n\xff\xfe: x\n"
    parts.members["_stable_baselines3_version"] = b"1.3.1a9\n"
    report = read(parts.pack())
    assert report.findings == ()
    assert report.versions == {"python": "3.7.10", "torch": "1.10.0", "gym": "0.19.0", "stable_baselines3": "1.3.1a9"}
    parts.members["system_info.txt"] = b"x" * 100_000
    assert read(parts.pack()).not_checked == ("text of system_info.txt",)


def test_tensors_pth_of_before_1_0_stands_for_the_variables(read: Read) -> None:
    parts = sb3_parts()
    parts.members["tensors.pth"] = parts.members.pop("pytorch_variables.pth")
    assert read(parts.pack()).findings == ()
