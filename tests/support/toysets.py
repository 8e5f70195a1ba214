"""Small sealed sets for tests: real files, real seals, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ckptsync.core import fsio, names
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.core.sets import SetWriter
from ckptsync.core.signature import Signature, TensorSpec

SIGNATURE = Signature(
    algorithm="PPO",
    policy="ActorCriticPolicy",
    observation_space={"kind": "box", "shape": [4], "dtype": "float32"},
    action_space={"kind": "discrete", "n": 2},
    parameters={"mlp_extractor.policy_net.0.weight": TensorSpec((64, 4), "float32")},
    net_arch=[64, 64],
)
LINEAGE = "l0001-abcdef"


def payload(*parts: object, size: int = 3_000) -> bytes:
    """Return bytes that depend on the parts, so that two sets never hold the same."""
    seed = hashlib.sha256(repr(parts).encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def digest_of(data: bytes) -> str:
    """Return `sha256:<hex>` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entries(stem: str, files: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    """Return the entries of files by name; the role is the part behind the stem, the model's is `model`."""
    roles = {name: name.removeprefix(stem + ".").split(".")[0] for name in files}
    return tuple(
        FileEntry(name, "model" if roles[name] == "zip" else roles[name], len(data), digest_of(data))
        for name, data in files.items()
    )


def files_of(scenario: str, num_timesteps: int, *, members: int = 2, salt: object = 0) -> dict[str, bytes]:
    """Return the files of a set: the model and up to three more."""
    stem = names.checkpoint_stem(scenario, num_timesteps)
    all_names = [
        names.model_name(stem),
        names.member_name(stem, "resume", "safetensors"),
        names.member_name(stem, "vecnormalize", "pkl"),
        names.member_name(stem, "replay", "safetensors"),
    ]
    return {name: payload(name, salt) for name in all_names[:members]}


def manifest_of(scenario: str, num_timesteps: int, files: Mapping[str, bytes], **fields: Any) -> Manifest:
    """Return an unsealed manifest of some files."""
    stem = names.checkpoint_stem(scenario, num_timesteps)
    values: dict[str, Any] = {
        "kind": "periodic",
        "signature": SIGNATURE,
        "lineage": LINEAGE,
        "generation": 1,
        "session": "cartpole/s0001",
        "created_at": "2026-01-02T03:04:05Z",
        **fields,
    }
    return Manifest(scenario=scenario, num_timesteps=num_timesteps, files=entries(stem, files), **values)


def write_set(
    folder: Path, scenario: str, num_timesteps: int, *, members: int = 2, salt: object = 0, **fields: Any
) -> Manifest:
    """Write and seal a set through SetWriter, as a training session does."""
    files = files_of(scenario, num_timesteps, members=members, salt=salt)
    manifest = manifest_of(scenario, num_timesteps, files, **fields)
    fsio.make_folder(folder)
    writer = SetWriter(folder, manifest.stem, list(files))
    for entry in manifest.files:
        writer.add(entry.path, entry.role, _filler(files[entry.path]))
    return writer.seal(manifest)


def _filler(data: bytes) -> Any:
    def write(file: BinaryIO) -> None:
        half = len(data) // 2
        file.write(data[:half])
        file.write(data[half:])

    return write


def write_plain(folder: Path, scenario: str, num_timesteps: int, data: bytes = b"plain SB3") -> Path:
    """Write a model without a seal, as plain SB3 does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / names.model_name(names.checkpoint_stem(scenario, num_timesteps))
    path.write_bytes(data)
    return path
