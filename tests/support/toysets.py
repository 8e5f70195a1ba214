"""Small sealed sets for tests: real files, real seals, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from ckptsync.core import fsio, names
from ckptsync.core.manifest import FileEntry, Manifest, Origin
from ckptsync.core.session import ScenarioSpec, SessionSpec
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


def segment_bytes(start: int, end: int, *, salt: object = 0) -> bytes:
    """Return what a segment of these rows holds."""
    return payload("rows", start, end, salt)


def segment_entry(scenario: str, start: int, end: int, *, salt: object = 0) -> FileEntry:
    """Return the entry of a segment of these rows."""
    data = segment_bytes(start, end, salt=salt)
    name = names.segment_name(start, end, digest_of(data))
    return FileEntry(f"{names.segment_folder(scenario)}/{name}", "segment", len(data), digest_of(data))


def segment_entries(scenario: str, rows: Sequence[int], *, salt: object = 0) -> tuple[FileEntry, ...]:
    """Return the entries of the segments that hold the rows between each two of `rows`."""
    return tuple(segment_entry(scenario, start, end, salt=salt) for start, end in pairwise(rows))


def lay_segments(folder: Path, scenario: str, rows: Sequence[int]) -> tuple[FileEntry, ...]:
    """Put segments beside the sets of a folder, those that are not there yet, and return their entries."""
    found = segment_entries(scenario, rows)
    for entry, (start, end) in zip(found, pairwise(rows), strict=True):
        (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / entry.path).exists():
            (folder / entry.path).write_bytes(segment_bytes(start, end))
    return found


def manifest_of(
    scenario: str,
    num_timesteps: int,
    files: Mapping[str, bytes],
    rows: Sequence[int] = (),
    *,
    rows_salt: object = 0,
    **fields: Any,
) -> Manifest:
    """Return an unsealed manifest of some files, and of segments that end where the rows say."""
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
    shared = segment_entries(scenario, rows, salt=rows_salt)
    return Manifest(scenario=scenario, num_timesteps=num_timesteps, files=(*entries(stem, files), *shared), **values)


def write_set(
    folder: Path,
    scenario: str,
    num_timesteps: int,
    *,
    members: int = 2,
    salt: object = 0,
    rows: Sequence[int] = (),
    rows_salt: object = 0,
    **fields: Any,
) -> Manifest:
    """Write and seal a set through SetWriter, as a training session does.

    Its segments hold the rows between each two of `rows`: those that are there are referred to, the others written.
    """
    files = files_of(scenario, num_timesteps, members=members, salt=salt)
    manifest = manifest_of(scenario, num_timesteps, files, rows, rows_salt=rows_salt, **fields)
    fsio.make_folder(folder)
    writer = SetWriter(folder, manifest.stem, list(files))
    for entry in manifest.members:
        writer.add(entry.path, entry.role, _filler(files[entry.path]))
    for entry, (start, end) in zip(manifest.segments, pairwise(rows), strict=True):
        if (folder / entry.path).exists():
            writer.refer(entry)
        else:
            writer.share(start, end, _filler(segment_bytes(start, end, salt=rows_salt)))
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


def spec_for(*promised: Manifest) -> SessionSpec:
    """Return what a second session is told that goes on from these sets."""
    return SessionSpec(
        run="r",
        session="r/s0002",
        lineage=LINEAGE,
        generation=2,
        scenarios=tuple(ScenarioSpec(manifest.scenario, 10_000) for manifest in promised),
        heads={m.scenario: Origin(m.session, m.num_timesteps, m.digest) for m in promised},
    )
