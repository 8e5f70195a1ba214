"""The first lines of every kernel script: check and unpack what the script carries, then hand over to `boot`.

This file is put at the head of the script as it is, so it uses nothing but the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import os
import shutil
import sys
import tempfile


def unpack(payload: str, digest: str, root: str) -> None:
    """Unpack a payload into a folder.

    Args:
        payload: base64 text of xz streams; unpacked they are one file after the other, each behind a line `[name, size]`.
        digest: sha256 of the payload without its line breaks, in hex.
        root: the folder.

    Raises:
        SystemExit: the script was changed or cut off on its way.
    """
    packed = payload.replace("\n", "").encode("ascii")
    if hashlib.sha256(packed).hexdigest() != digest:
        raise SystemExit("[CKPTSYNC] this script was changed or cut off on its way; launch the session again")
    data = lzma.decompress(base64.b64decode(packed))
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


def run(payload: str, digest: str) -> None:
    """Unpack into a temporary folder, run `boot` from there and leave the process with its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the machine of a session may have any Python
        raise SystemExit(f"[CKPTSYNC] Python 3.11 or newer is needed here, this is {sys.version.split()[0]}")
    root = tempfile.mkdtemp(prefix="ckptsync-")  # packages with data files cannot be imported from a zip
    try:
        unpack(payload, digest, root)
        sys.path.insert(0, os.path.join(root, "lib"))
        from ckptsync.training.boot import main

        code = main(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    raise SystemExit(code)
