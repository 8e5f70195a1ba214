"""Differences between two networks, and the words for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptsync.core.compare import compare, describe_incompatibility
from ckptsync.core.findings import Finding, Severity, Verdict, note, verdict_of
from ckptsync.core.signature import Signature, Space, TensorSpec


def network(inputs: int = 4, hidden: int = 64, actions: int = 2) -> dict[str, TensorSpec]:
    shapes: dict[str, tuple[int, ...]] = {}
    for net in ("policy_net", "value_net"):
        shapes[f"mlp_extractor.{net}.0.weight"] = (hidden, inputs)
        shapes[f"mlp_extractor.{net}.0.bias"] = (hidden,)
        shapes[f"mlp_extractor.{net}.2.weight"] = (hidden, hidden)
        shapes[f"mlp_extractor.{net}.2.bias"] = (hidden,)
    shapes |= {"action_net.weight": (actions, hidden), "action_net.bias": (actions,)}
    shapes |= {"value_net.weight": (1, hidden), "value_net.bias": (1,)}
    return {name: TensorSpec(shape, "float32") for name, shape in shapes.items()}


def ppo(inputs: int = 4, hidden: int = 64, actions: int = 2) -> Signature:
    return Signature(
        algorithm="PPO",
        policy="ActorCriticPolicy",
        observation_space={"kind": "box", "shape": [inputs], "dtype": "float32"},
        action_space={"kind": "discrete", "n": actions},
        parameters=network(inputs, hidden, actions),
        net_arch=[hidden, hidden],
    )


def by_subject(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_equal_networks_give_nothing() -> None:
    assert compare(ppo(), ppo()) == ()
    assert compare(Signature(), Signature()) == ()
    assert describe_incompatibility(()) == []


def test_other_layers_are_summed_up_first_and_then_named() -> None:
    findings = compare(checkpoint=ppo(hidden=64), current=ppo(hidden=128))
    assert (findings[0].code, findings[0].expected, findings[0].actual) == ("arch.net-arch", [128, 128], [64, 64])
    weight = by_subject(findings)["mlp_extractor.policy_net.0.weight"]
    assert (weight.code, weight.expected, weight.actual) == ("arch.parameter-shape", [128, 4], [64, 4])
    assert "hidden layers changed from [64, 64] to [128, 128]" in weight.hint
    assert "net_arch in policy_kwargs" in weight.hint
    assert "--fresh" in weight.hint and "attic" in weight.hint
    assert "value_net.bias" not in by_subject(findings)
    assert all(finding.severity is Severity.BLOCKER for finding in findings)
    assert verdict_of(findings, compared=True) is Verdict.INCOMPATIBLE


def test_log_lines_are_those_that_people_look_for() -> None:
    lines = describe_incompatibility(compare(ppo(hidden=64), ppo(hidden=128)))
    assert lines[0] == "INCOMPATIBILITY DETECTED:"
    assert lines[1] == "- Architecture: checkpoint=[64, 64], current=[128, 128]"
    assert "- Parameter mlp_extractor.policy_net.0.weight: checkpoint=[64, 4], current=[128, 4]" in lines
    assert any(line.startswith("Likely cause: hidden layers changed") for line in lines)
    assert lines[-1].startswith("Recommendation: ") and "--fresh" in lines[-1]


def test_long_lists_are_cut() -> None:
    many = {f"layer{number}": TensorSpec((1,), "float32") for number in range(40)}
    lines = describe_incompatibility(compare(Signature(parameters=many), Signature()))
    assert "- ... and 28 more parameters" in lines
    assert "- Parameter layer0: checkpoint=[1], current=none" in lines


def test_findings_about_other_things_are_no_incompatibility() -> None:
    assert describe_incompatibility([note("version.skew", "torch", "2.4", "2.5")]) == []


def test_other_observations_are_told_as_such() -> None:
    findings = compare(ppo(inputs=4), ppo(inputs=6))
    assert findings[0].code == "arch.observation-space"
    hint = by_subject(findings)["mlp_extractor.policy_net.0.weight"].hint
    assert "the first layer takes 6 inputs where the checkpoint has 4: the observation space changed" in hint


def test_other_actions_are_told_as_such() -> None:
    findings = compare(ppo(actions=2), ppo(actions=3))
    assert findings[0].code == "arch.action-space"
    hint = by_subject(findings)["action_net.weight"].hint
    assert "the last layer gives 3 actions where the checkpoint has 2: the action space changed" in hint


def test_critics_and_images_have_their_own_words() -> None:
    def one(name: str, *shape: int) -> Signature:
        return Signature(parameters={name: TensorSpec(shape, "float32")})

    critic = compare(one("critic.qf0.0.weight", 256, 4), one("critic.qf0.0.weight", 256, 6))
    assert "the critic takes 6 inputs (observation and action) where the checkpoint has 4" in critic[0].hint
    image = compare(
        one("features_extractor.cnn.0.weight", 32, 4, 8, 8), one("features_extractor.cnn.0.weight", 32, 1, 8, 8)
    )
    assert "the first layer sees 1 image channels where the checkpoint has 4" in image[0].hint
    noise = compare(one("log_std", 2), one("log_std", 64, 2))
    assert "use_sde" in noise[0].hint


def test_algorithm_and_policy_only_where_both_are_known() -> None:
    a2c = replace(ppo(), algorithm="A2C")
    assert [finding.code for finding in compare(a2c, ppo())] == ["arch.algorithm"]
    assert compare(replace(ppo(), algorithm=None), ppo()) == ()
    assert compare(replace(ppo(), policy=None), ppo()) == ()
    other = replace(ppo(), policy="MultiInputActorCriticPolicy")
    assert [finding.code for finding in compare(other, ppo())] == ["arch.policy"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([64, 64], {"pi": [64, 64], "vf": [64, 64]}, True),
        ({"pi": [64], "vf": [32]}, {"pi": [64], "vf": [32]}, True),
        ({"pi": [64], "vf": [32]}, [64], False),
        ([64], [64, 64], False),
        ([], None, True),
    ],
)
def test_sb3s_two_ways_to_write_layers(
    one: list[int] | dict[str, list[int]], other: list[int] | dict[str, list[int]] | None, same: bool
) -> None:
    findings = compare(Signature(net_arch=one), Signature(net_arch=other))
    assert [finding.code for finding in findings] == ([] if same else ["arch.net-arch"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"kind": "box", "shape": [4], "dtype": "float32"}, {"kind": "box", "shape": [4], "dtype": "float64"}, False),
        ({"kind": "discrete", "n": 2}, {"kind": "discrete", "n": 2, "start": 1}, False),
        ({"kind": "unknown", "class": "a.B"}, {"kind": "unknown", "class": "a.C"}, False),
        ({"kind": "unknown", "class": "a.B"}, {"kind": "discrete", "n": 2}, True),
        (None, {"kind": "discrete", "n": 2}, True),
    ],
)
def test_spaces_differ_only_where_that_is_sure(one: Space | None, other: Space | None, same: bool) -> None:
    findings = compare(Signature(observation_space=one), Signature(observation_space=other))
    assert [finding.code for finding in findings] == ([] if same else ["arch.observation-space"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lstm_actor.weight_ih_l0", "recurrent"),
        ("features_extractor.cnn.0.weight", "CnnPolicy"),
        ("critic.qf2.0.weight", "n_critics"),
        ("_orig_mod.value_net.weight", "torch.compile"),
        ("module.value_net.weight", "DataParallel"),
        ("log_std", "continuous actions"),
        ("mlp_extractor.policy_net.4.weight", "more hidden layers"),
        ("something.new", "code or its arguments changed"),
    ],
)
def test_extra_and_missing_parameters_give_their_cause_away(name: str, words: str) -> None:
    more = replace(ppo(), parameters={**network(), name: TensorSpec((3, 3), "float32")})
    (extra,) = compare(more, ppo())
    assert (extra.code, extra.subject, extra.expected, extra.actual) == ("arch.parameter-extra", name, None, [3, 3])
    assert words in extra.hint
    (missing,) = compare(ppo(), more)
    assert (missing.code, missing.subject, missing.expected, missing.actual) == (
        "arch.parameter-missing",
        name,
        [3, 3],
        None,
    )
    assert words in missing.hint


def test_other_numbers_are_a_finding_of_their_own() -> None:
    half = {name: replace(spec, dtype="float16") for name, spec in network().items()}
    findings = compare(replace(ppo(), parameters=half), ppo())
    assert {finding.code for finding in findings} == {"arch.parameter-dtype"}
    assert (findings[0].expected, findings[0].actual) == ("float32", "float16")
    assert len(findings) == len(network())
