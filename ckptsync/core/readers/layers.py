"""What each layer of a model file holds, as a digest of its bytes: for telling which layers two files share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .. import fsio
from .allowed import Approval
from .archive import is_zip, read_entries, unpack
from .safetensors import is_safetensors, layer_windows
from .sb3 import POLICY, is_sb3
from .torch_file import read_torch
from .window import Window


def layer_digests(path: Path) -> dict[str, str]:
    """Return the name of each parameter with the digest of its bytes, without executing anything.

    Args:
        path: a file that `read_model` found sound.

    Raises:
        RefusedError: it is damaged, or of a format that is not read.
    """
    with fsio.open_regular(path) as file:
        window = Window(file.fileno(), 0, os.fstat(file.fileno()).st_size, path.name, whole=True)
        if is_safetensors(window):
            return {name: _digest(layer, 0, layer.size) for name, layer in layer_windows(window).items()}
        if is_zip(window):
            entries = read_entries(window)
            if is_sb3(entries):
                window = unpack(window, entries[POLICY])
        content = read_torch(window, Approval(own=True), check_values=False)
        return {
            name: _digest(content.storages[t.storage], t.first * t.item_bytes, (t.last + 1 - t.first) * t.item_bytes)
            for name, t in content.tensors.items()
        }


def _digest(window: Window, offset: int, size: int) -> str:
    digest = hashlib.sha256()
    for chunk in window.chunks(offset, size):
        digest.update(chunk)
    return "sha256:" + digest.hexdigest()
