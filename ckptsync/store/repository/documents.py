"""The small JSON documents of a repository: each names its form and carries its own digest.

Whatever comes back from a store was written by others, or damaged on the way: nothing of it is believed before its
digest, its schema and every field have been looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...core import jsonio, names, selfdigest
from ...core.errors import CkptsyncError, CorruptError

MAX_DOCUMENT_BYTES = 32 << 20

T = TypeVar("T")


def serialise(schema: str, value: Mapping[str, Any]) -> bytes:
    """Return the bytes of a document."""
    return selfdigest.serialise({**value, "schema": schema})


_HINT = "'ckptsync scrub' looks for all that is damaged, 'ckptsync repair' puts it back"
_NEWER = "update ckptsync, or use the one that wrote it"


def parse(data: bytes, schema: str, key: str, build: Callable[[dict[str, Any]], T], *, hint: str = _HINT) -> T:
    """Read a document.

    Args:
        data: its bytes.
        schema: what it must be.
        key: where it lies, for the message.
        build: makes of its fields what they stand for; raises ValueError where they make no sense.
        hint: what helps where it is damaged.

    Raises:
        CorruptError: it is damaged, of another form, or lies.
    """
    try:
        value = jsonio.parse(data)
        if not isinstance(value, dict) or not isinstance(value.get("schema"), str):
            raise ValueError("it has no schema")
        if value["schema"] != schema:
            raise _other_schema(key, schema, value["schema"])
        selfdigest.check(data, value)
        body = {name: field for name, field in value.items() if name != "digest"}
        if selfdigest.serialise(body) != data:  # so that no bit of it can change unseen
            raise ValueError("it is not in the form that ckptsync writes")
        return build(body)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{names.printable(key)} in the store is damaged: {error}", hint=hint) from None
    except CkptsyncError as error:
        if isinstance(error, CorruptError) and error.hint == _NEWER:
            raise
        raise CorruptError(f"{names.printable(key)} in the store is damaged: {error.message}", hint=hint) from None


def _other_schema(key: str, expected: str, found: str) -> CorruptError:
    family = expected.rpartition("/")[0]
    if found.startswith(f"{family}/"):
        return CorruptError(
            f"{names.printable(key)} in the store is {names.printable(found)}, which is not known here", hint=_NEWER
        )
    return CorruptError(
        f"{names.printable(key)} in the store is {names.printable(found)}, expected {expected}", hint=_HINT
    )
