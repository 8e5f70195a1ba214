"""The signature of a checkpoint: which network it holds, as far as that is known without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A space as a JSON object: {"kind": "box", "shape": [4], "dtype": "float32"} · {"kind": "discrete", "n": 2} ·
# {"kind": "multi_discrete", "nvec": [2, 3]} · {"kind": "multi_binary", "n": 4} (or a shape as a list) ·
# {"kind": "dict", "spaces": {name: space}} · {"kind": "tuple", "spaces": [space, ...]} · {"kind": "unknown", "class": "..."}
Space = Mapping[str, Any]
# Layer sizes as SB3's net_arch has them: [64, 64] or {"pi": [64, 64], "vf": [64]}
NetArch = list[int] | dict[str, list[int]]


def parse_net_arch(value: Any) -> NetArch | None:
    """Check layer sizes from outside; None stays None. Raises ValueError when it is anything else."""

    def sizes(layers: Any) -> bool:
        return isinstance(layers, list) and all(type(size) is int and size > 0 for size in layers)

    if value is None or sizes(value):
        return value  # type: ignore[no-any-return]  # it has just been checked
    if isinstance(value, dict) and all(sizes(layers) for layers in value.values()):
        return value
    raise ValueError(f"not layer sizes: {value!r}")


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of one tensor.

    Args:
        shape: sizes of its dimensions.
        dtype: torch's name without the prefix: `float32`, `bfloat16`, `int64`, `bool`.
    """

    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return `{"shape": [...], "dtype": "..."}`."""
        return {"shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_json(cls, value: Any) -> TensorSpec:
        """Parse what `to_json` gave. Raises ValueError when it is anything else."""
        if not isinstance(value, dict) or not isinstance(value.get("dtype"), str):
            raise ValueError(f"not a tensor specification: {value!r}")
        shape = value.get("shape")
        if not isinstance(shape, list) or not set(map(type, shape)) <= {int} or min(shape, default=0) < 0:
            raise ValueError(f"not a shape: {shape!r}")
        return cls(tuple(shape), value["dtype"])


@dataclass(frozen=True)
class Signature:
    """Algorithm, policy, spaces and parameters of a checkpoint; None where unknown.

    Args:
        algorithm: the class name, `PPO`. Not stored in SB3's files; inferred only where sure.
        policy: the policy class name, `ActorCriticPolicy`.
        observation_space: see Space.
        action_space: see Space.
        parameters: name in the state dict of `policy.pth` -> TensorSpec.
        net_arch: sizes of the hidden layers.
    """

    algorithm: str | None = None
    policy: str | None = None
    observation_space: Space | None = None
    action_space: Space | None = None
    parameters: Mapping[str, TensorSpec] = field(default_factory=dict)
    net_arch: NetArch | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the `--json` outputs and of manifests."""
        return {
            "algorithm": self.algorithm,
            "policy": self.policy,
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "net_arch": self.net_arch,
            "parameters": {name: spec.to_json() for name, spec in self.parameters.items()},
        }

    @classmethod
    def from_json(cls, value: Any) -> Signature:
        """Parse what `to_json` gave. Raises ValueError when it is anything else."""
        if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
            raise ValueError("a signature is an object with 'parameters'")
        for key in ("algorithm", "policy"):
            if not isinstance(value.get(key), str | None):
                raise ValueError(f"signature field {key!r} is no text")
        for key in ("observation_space", "action_space"):
            if not isinstance(value.get(key), dict | None):
                raise ValueError(f"signature field {key!r} is no object")
        return cls(
            algorithm=value.get("algorithm"),
            policy=value.get("policy"),
            observation_space=value.get("observation_space"),
            action_space=value.get("action_space"),
            net_arch=parse_net_arch(value.get("net_arch")),
            parameters={name: TensorSpec.from_json(spec) for name, spec in value["parameters"].items()},
        )


_last: tuple[Any, Signature] = (None, Signature())


def shared_signature(value: Any) -> Signature:
    """Parse as `Signature.from_json` does; equal values one after another give the same object.

    The thousands of sets of a tree hold one network, and making its signature anew for each takes more time and
    memory than all else in a manifest.
    """
    global _last
    known, signature = _last
    if known is None or value != known:
        signature = Signature.from_json(value)
        _last = (value, signature)
    return signature
