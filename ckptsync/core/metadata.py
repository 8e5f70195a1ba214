"""training_metadata.json: the heads of a tree in words for people and older scripts.

The keys of a block are those that scripts of this kind have always looked for. Where a tree has one
scenario, they stand at the top as well. The file is made from the seals; it is never their judge
when something better is there, and a missing one never means "compatible".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import fields, fsio, jsonio, names
from .clock import now
from .errors import CorruptError, NothingFoundError
from .layout import TrainingTree
from .manifest import Manifest
from .metrics import REWARD
from .signature import Signature, Space, parse_net_arch

SCHEMA = "ckptsync.training-metadata/1"
_MAX_METADATA_BYTES = 16 << 20
_HINT = "move the file away; it is written anew"


def block(manifest: Manifest) -> dict[str, Any]:
    """Return the classic keys of one scenario's head."""
    signature = manifest.signature
    return {
        "algorithm": signature.algorithm,
        "observation_space_shape": space_shape(signature.observation_space),
        "action_space_shape": space_shape(signature.action_space),
        "policy_architecture": signature.net_arch,
        "total_timesteps_completed": manifest.num_timesteps,
        "mean_reward": manifest.metrics.get(REWARD),
        "timestamp": manifest.created_at,
    }


def space_shape(space: Space | None) -> Any:
    """Return the shape of a space as the classic file has it: a list; [] for a discrete one; None if unknown."""
    if space is None:
        return None
    if "shape" in space:
        return list(space["shape"])
    return {"discrete": [], "multi_discrete": [len(space.get("nvec", []))]}.get(str(space.get("kind")))


def write_metadata(tree: TrainingTree, heads: Mapping[str, Manifest]) -> None:
    """Write the file from the manifests of the heads."""
    scenarios = {name: block(manifest) for name, manifest in sorted(heads.items())}
    value: dict[str, Any] = {"schema": SCHEMA, "timestamp": now(), "scenarios": scenarios}
    if len(scenarios) == 1:
        value = {**value, **next(iter(scenarios.values()))}
    fsio.write_bytes(tree.metadata, jsonio.pretty(value))


def read_metadata(tree: TrainingTree) -> dict[str, Any] | None:
    """Read the file, of ours or of an older script; None when there is none.

    Raises:
        CorruptError: it cannot be read as what it should be.
    """
    try:
        data = fsio.read_bytes(tree.metadata, limit=_MAX_METADATA_BYTES)
        value = jsonio.parse(data, non_finite=True)  # older scripts write a mean reward of NaN
    except NothingFoundError:
        return None
    except ValueError as error:
        raise CorruptError(f"{tree.metadata}: {error}", hint=_HINT) from None
    if not isinstance(value, dict):
        raise CorruptError(f"{tree.metadata} is no JSON object", hint=_HINT)
    return value


def expectation_from(value: Mapping[str, Any], scenario: str) -> Signature | None:
    """Return what the metadata say of a scenario's network, without parameters; None when they say nothing.

    Raises:
        CorruptError: what they say makes no sense; that never means "compatible".
    """
    try:
        found = fields.mapping(value, "scenarios").get(scenario, {}) if "scenarios" in value else value
        architecture = parse_net_arch(found.get("policy_architecture"))
        algorithm = fields.text(found, "algorithm") if found.get("algorithm") is not None else None
    except (ValueError, AttributeError) as error:
        raise CorruptError(
            f"training_metadata.json says nothing sensible about {names.printable(scenario)}: {error}", hint=_HINT
        ) from None
    return None if architecture is None else Signature(algorithm=algorithm, net_arch=architecture)
