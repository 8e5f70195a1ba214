"""JSON objects that carry their own digest as their last field, so that one damaged bit in them shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from . import fields, jsonio

_TAIL = re.compile(rb',"digest":"(sha256:[0-9a-f]{64})"\}\n?\Z')


def serialise(body: Mapping[str, Any]) -> bytes:
    """Return an object in canonical form with its digest behind its other fields, and a line break."""
    data = jsonio.canonical(body)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return data[:-1] + b',"digest":"' + digest.encode() + b'"}\n'


def check(data: bytes, value: Mapping[str, Any]) -> str:
    """Return the digest that an object carries.

    Args:
        data: its bytes.
        value: what was read from them.

    Raises:
        ValueError: the bytes disagree with it.
    """
    digest = fields.digest(value, "digest")
    # The form that we write needs no second serialisation: cut the digest off and hash what is left.
    tail = _TAIL.search(data)
    if tail and "sha256:" + hashlib.sha256(data[: tail.start()] + b"}").hexdigest() == digest:
        return digest
    body = {key: field for key, field in value.items() if key != "digest"}
    if "sha256:" + hashlib.sha256(jsonio.canonical(body)).hexdigest() != digest:
        raise ValueError("its bytes disagree with its own digest")
    return digest
