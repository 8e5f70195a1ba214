"""Sealed sets whose model is of any size, for tests of the store: real archives of tensors, no torch."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ckptsync.core import fsio, names
from ckptsync.core.manifest import Manifest
from ckptsync.core.sets import SetWriter
from support.toysets import manifest_of


def write_large_set(
    folder: Path, num_timesteps: int, roles: Mapping[str, bytes], scenario: str = "cartpole"
) -> Manifest:
    """Write and seal a set of files given by role; `model` must be among them."""
    stem = names.checkpoint_stem(scenario, num_timesteps)
    files = {
        names.model_name(stem) if role == "model" else names.member_name(stem, role, "safetensors"): data
        for role, data in roles.items()
    }
    manifest = manifest_of(scenario, num_timesteps, files)
    fsio.make_folder(folder)
    writer = SetWriter(folder, stem, list(files))
    for entry in manifest.members:
        data = files[entry.path]
        writer.add(entry.path, entry.role, lambda file, data=data: file.write(data))  # type: ignore[misc]
    return writer.seal(manifest)


def stored_zip(members: Mapping[str, bytes]) -> bytes:
    """Return a zip that stores its members as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def sb3_like(tensors: Mapping[str, bytes]) -> bytes:
    """Return a zip in which a zip holds tensors, as stable-baselines3 writes its files."""
    inner = stored_zip({f"archive/data/{name}": data for name, data in tensors.items()})
    return stored_zip({"data": b"{}" * 3_000, "policy.pth": inner, "_stable_baselines3_version": b"2.9.2"})


def safetensors(tensors: Mapping[str, bytes]) -> bytes:
    """Return a safetensors file of tensors of bytes."""
    header, position = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())
