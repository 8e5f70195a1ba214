"""Which names a refused pickle has: whoever reads the refusal wants to know what loading would have run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import limits
from .window import RefusedError, refuse

_MOST_NAMES = 3
# GLOBAL and INST: a letter, the module, the name. Two letters at least, or `p1` (PUT) would pass for a name
_SPELLED_OUT = re.compile(rb"[ci]([A-Za-z_][A-Za-z0-9_.]{0,200})\n([A-Za-z_]{2}[A-Za-z0-9_.]{0,200})\n")


def with_names(error: RefusedError, paths: Iterable[str], data: bytes) -> RefusedError:
    """Add to a forbidden instruction what its pickle names; any other refusal stays as it is.

    Args:
        error: the refusal.
        paths: the globals that were named before it.
        data: the pickle, for those behind it.
    """
    finding = error.finding
    if finding.code != "pickle.forbidden-opcode":
        return error
    paths = list(paths) or _named_in_text(data)
    if not paths:
        return error
    said = f"{finding.actual}, in a pickle that names {names_text(paths)}"
    return refuse(finding.code, finding.subject, finding.expected, said, finding.hint)


def names_text(paths: Iterable[str]) -> str:
    """Return the first names as they stand in a finding."""
    paths = [f"{path:.120}" for path in paths]
    more = len(paths) - _MOST_NAMES
    return ", ".join(paths[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _named_in_text(data: bytes) -> list[str]:
    """Return what seems to be named in the text forms of protocol 0, whose other instructions nobody follows here."""
    found = (b".".join(match.groups()) for match in _SPELLED_OUT.finditer(data, 0, limits.MIB))
    return [path.decode("ascii") for path in dict.fromkeys(found)]
