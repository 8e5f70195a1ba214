"""What SB3 does not write down: the algorithm and the sizes of the hidden layers, inferred only where they are sure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..signature import NetArch, TensorSpec

# the module of the policy class decides, where no other algorithm uses it
_BY_MODULE = {
    "stable_baselines3.dqn.policies": "DQN",
    "stable_baselines3.sac.policies": "SAC",
    "sb3_contrib.tqc.policies": "TQC",
    "sb3_contrib.qrdqn.policies": "QRDQN",
    "sb3_contrib.ars.policies": "ARS",
    "sb3_contrib.crossq.policies": "CrossQ",
    "sb3_contrib.common.maskable.policies": "MaskablePPO",
    "sb3_contrib.common.recurrent.policies": "RecurrentPPO",
    "sb3_contrib.ppo_recurrent.policies": "RecurrentPPO",
    "sb3_contrib.ppo_mask.policies": "MaskablePPO",
}
_ACTOR_CRITIC = "stable_baselines3.common.policies"
_TD3 = "stable_baselines3.td3.policies"

ONE_OPTIMIZER = ("policy.optimizer.pth",)
_TWO_OPTIMIZERS = ("actor.optimizer.pth", "critic.optimizer.pth")
_OPTIMIZERS = {
    **dict.fromkeys(("PPO", "A2C", "TRPO", "DQN", "QRDQN", "MaskablePPO", "RecurrentPPO"), ONE_OPTIMIZER),
    **dict.fromkeys(("SAC", "TQC", "CrossQ", "TD3", "DDPG"), _TWO_OPTIMIZERS),
}


def algorithm(policy_module: str, fields: Mapping[str, Any]) -> str | None:
    """Infer the algorithm's class name.

    Args:
        policy_module: where the policy class lives; PPO, A2C and TRPO share one, TD3 and DDPG another.
        fields: SB3's `data`, which has a key for each attribute of the algorithm.
    """
    if policy_module == _ACTOR_CRITIC:
        if "cg_max_steps" in fields:
            return "TRPO"
        if "clip_range" in fields and "n_epochs" in fields:
            return "PPO"
        if "vf_coef" in fields and "n_epochs" not in fields:
            return "A2C"
        return None
    if policy_module == _TD3:
        delay = fields.get("policy_delay")
        if delay != 1:
            return "TD3" if isinstance(delay, int) else None
        return "DDPG" if fields.get("target_noise_clip") == 0.0 else None
    return _BY_MODULE.get(policy_module)


def expected_optimizers(name: str | None, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the optimizer members that SB3 writes for an algorithm; none where it is not known."""
    expected = _OPTIMIZERS.get(name or "", ())
    learned = isinstance(fields.get("ent_coef"), str) and name in ("SAC", "TQC", "CrossQ")
    return (*expected, "ent_coef_optimizer.pth") if learned else expected


# name of a group of layers in net_arch -> pattern of its weights, and whether the last of them is the output layer
_ON_POLICY = {
    "shared": (r"mlp_extractor\.shared_net\.(\d+)\.weight", False),
    "pi": (r"mlp_extractor\.policy_net\.(\d+)\.weight", False),
    "vf": (r"mlp_extractor\.value_net\.(\d+)\.weight", False),
}
_TD3_LIKE = {
    "pi": (r"actor\.mu\.(\d+)\.weight", True),
    "qf": (r"critic\.qf0\.(\d+)\.weight", True),
}
_VALUE = {"q": (r"(?:q_net\.q_net|quantile_net\.quantile_net)\.(\d+)\.weight", True)}
_ARS = {"pi": (r"action_net\.(\d+)\.weight", True)}


def net_arch(parameters: Mapping[str, TensorSpec]) -> NetArch | None:
    """Read the sizes of the hidden layers off the parameters.

    Args:
        parameters: those of `policy.pth`.

    Returns:
        `[64, 64]` where actor and critic (or the one network) have the same, `{"pi": ..., "vf": ...}` where not, None
        where the network is none of SB3's.
    """
    if any(name.startswith("mlp_extractor.") or name.startswith("value_net.") for name in parameters):
        layers = _layers(parameters, _ON_POLICY)
        shared = layers.pop("shared")
        if shared:
            layers = {name: shared + sizes for name, sizes in layers.items()}
    elif any(name.startswith("actor.") for name in parameters):
        layers = _layers(parameters, _TD3_LIKE)
        hidden = _sizes(parameters, r"actor\.latent_pi\.(\d+)\.weight")
        if hidden:  # SAC's output layer lies apart; TD3's is the last of `actor.mu`
            layers["pi"] = hidden
    elif any(name.startswith(("q_net.", "quantile_net.")) for name in parameters):
        return _layers(parameters, _VALUE)["q"]
    elif any(name.startswith("action_net.") for name in parameters):
        return _layers(parameters, _ARS)["pi"]
    else:
        return None
    first, second = layers.values()
    return first if first == second else layers


def _layers(parameters: Mapping[str, TensorSpec], groups: Mapping[str, tuple[str, bool]]) -> dict[str, list[int]]:
    layers = {}
    for group, (pattern, with_output) in groups.items():
        sizes = _sizes(parameters, pattern)
        layers[group] = sizes[:-1] if with_output else sizes
    return layers


def _sizes(parameters: Mapping[str, TensorSpec], pattern: str) -> list[int]:
    """Return the output sizes of the linear layers whose names match, in the order of their numbers."""
    found = {
        int(match[1]): spec.shape[0]
        for name, spec in parameters.items()
        if (match := re.fullmatch(pattern, name)) and len(spec.shape) == 2
    }
    return [found[number] for number in sorted(found)]
