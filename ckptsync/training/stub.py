"""The first lines of every kernel script: check and unpack what the session is made of, then hand over to `boot`.

This file is put at the head of the script as it is, so it uses nothing but the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import lzma
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

# Services mount inputs some folders deep, and a mount beside them may hold a hundred thousand files
_MAX_DEPTH = 5
_MAX_FOLDERS = 200  # on one level
_MAX_NAMES = 2_000  # in one folder


def levels(inputs: str) -> Iterator[list[tuple[str, list[str]]]]:
    """Look below a folder level by level, and no further than a mount can lie.

    Args:
        inputs: the folder; nothing is found when it does not exist.

    Yields:
        For each level its folders, the first level being `inputs` itself, each with the names of the files in it.
    """
    level = [inputs]
    for _ in range(_MAX_DEPTH):
        found: list[tuple[str, list[str]]] = []
        deeper: list[tuple[int, str]] = []
        for folder in level[:_MAX_FOLDERS]:
            files: list[str] = []
            folders: list[str] = []
            try:
                with os.scandir(folder) as entries:  # knows what is a folder without asking a slow mount for each name
                    for entry in itertools.islice(entries, _MAX_NAMES):
                        (folders if entry.is_dir() else files).append(entry.name)
            except OSError:
                continue  # it went away, or is not for us
            found.append((folder, sorted(files)))
            deeper += [(len(folders), os.path.join(folder, name)) for name in folders]
        yield found
        # A folder among a thousand others is somebody's data; mounts lie among few
        level = [path for _, path in sorted(deeper)]


def read_code(inputs: str, name: str, digest: str) -> bytes:
    """Return the payload that travels in a pack of its own, because the script would be too large with it.

    Args:
        inputs: the folder that the session's inputs are mounted below.
        name: the pack's file name.
        digest: sha256 of the pack, in hex.

    Raises:
        SystemExit: it is not there, or its bytes are others.
    """
    looked: list[str] = []
    for level in levels(inputs):
        for folder, files in level:
            looked.append(folder)
            if name not in files:
                continue
            with open(os.path.join(folder, name), "rb") as file:
                pack = file.read()
            if hashlib.sha256(pack).hexdigest() == digest:
                _magic, _seal, index, rest = pack.split(b"\n", 3)
                size = json.loads(index)["members"][0]["size_bytes"]
                return rest[:size].translate(bytes(byte ^ 0xA5 for byte in range(256)))
            looked[-1] += f" (holds a {name} with other bytes)"
    raise SystemExit(
        f"[CKPTSYNC] the session's code, {name} with sha256 {digest}, is not among the inputs; launch the session "
        f"again. Looked in: {', '.join(looked[:20]) or 'nothing, for ' + inputs + ' does not exist'}"
    )


def unpack(packed: bytes, root: str) -> None:
    """Unpack xz streams into a folder: one file after the other, each behind a line `[name, size]`."""
    data = lzma.decompress(packed)
    position = 0
    while position < len(data):
        line_end = data.index(b"\n", position)
        name, size = json.loads(data[position:line_end])
        position = line_end + 1
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data[position : position + size])
        position += size


def run(payload: str, digest: str, code: str = "", code_digest: str = "") -> None:
    """Unpack into a temporary folder, run `boot` from there and leave the process with its exit code.

    Args:
        payload: base64 text of what the script carries.
        digest: sha256 of the payload without its line breaks, in hex.
        code: the name of the pack with the rest, where that is too large for a script.
        code_digest: sha256 of that pack, in hex.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - the machine of a session may have any Python
        raise SystemExit(f"[CKPTSYNC] Python 3.11 or newer is needed here, this is {sys.version.split()[0]}")
    text = payload.replace("\n", "").encode("ascii")
    if hashlib.sha256(text).hexdigest() != digest:
        raise SystemExit("[CKPTSYNC] this script was changed or cut off on its way; launch the session again")
    root = tempfile.mkdtemp(prefix="ckptsync-")  # packages with data files cannot be imported from a zip
    try:
        unpack(base64.b64decode(text), root)
        if code:
            inputs = os.environ.get("CKPTSYNC_INPUT_DIR") or "/kaggle/input"
            unpack(read_code(inputs, code, code_digest), root)
        sys.path.insert(0, os.path.join(root, "lib"))
        from ckptsync.training.boot import main

        exit_code = main(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    raise SystemExit(exit_code)
