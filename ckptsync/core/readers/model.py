"""Reading any model file: open, hash, recognise, hand to the reader of its format."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..errors import CkptsyncError, NothingFoundError
from ..findings import Finding, blocker, note
from ..signature import Signature
from . import limits
from .allowed import Approval, bare_pickle
from .archive import is_zip, read_entries
from .report import CodeByValue, MemberInfo, ModelReport
from .safetensors import is_safetensors, read_safetensors
from .sb3 import is_sb3, read_sb3
from .torch_file import TorchContent, is_legacy, read_torch
from .window import RefusedError, Window, refuse

# A flipped bit in a number is another number, and only a seal can tell
_NO_CHECKSUMS = "whether every number is as it was written: this format has no checksums"


class _Asked(NamedTuple):
    """What the caller wants; see `read_model`."""

    own: bool
    trusted: frozenset[str]
    check_values: bool
    with_content: bool


@dataclass
class _Reading:
    """What has been found out so far."""

    format: str = "unknown"
    content: str = ""
    signature: Signature = field(default_factory=Signature)
    num_timesteps: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    members: tuple[MemberInfo, ...] = ()
    functions: list[CodeByValue] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


def read_model(
    path: Path,
    *,
    own: bool = False,
    trusted: Collection[str] = (),
    check_values: bool = True,
    proved: str | None = None,
    with_content: bool = True,
) -> ModelReport:
    """Read a model file without executing anything in it.

    Nothing is imported, unpickled or written (a deflated member of more than 16 MB is unpacked to a nameless
    temporary file). Damage and danger are findings, never exceptions. Memory stays below 100 MB whatever the size.

    A bare pickle (VecNormalize statistics, a replay buffer) is only hashed: what it does is not known before it is
    loaded. Such a file is therefore refused, unless it is this run's own or approved by digest; and then its bytes are
    still listed in `not_checked`.

    Args:
        path: a regular file. A link is followed, for the user chose it; names found inside files never are.
        own: the file comes from this run's own lineage, so a user's own functions and classes are notes, not blockers.
        trusted: digests that the configuration approves: of functions by value, or of whole files (which then count as
            own).
        check_values: look for NaN and infinite weights too.
        proved: the file's digest, where it was hashed a moment ago and nobody has changed it since; all of it is
            read and checked as ever, and not hashed once more.
        with_content: find the digest of the content too, which is another hash; else it is empty.

    Raises:
        NothingFoundError: there is no such path.
        CkptsyncError: the operating system does not let us read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise NothingFoundError(f"there is no file {path}", hint="'ckptsync ls' lists what there is") from None
    except OSError as error:
        special = _special(path)
        if special is not None:
            return _report(path, 0, "", _Reading(findings=[special]))
        raise CkptsyncError(f"cannot read {path}: {error.strerror}", hint="check the file's permissions") from None
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return _report(path, 0, "", _Reading(findings=[_special_file(before.st_mode, path)]))
        asked = _Asked(own, frozenset(trusted), check_values, with_content)
        return _read_file(descriptor, before, path, asked, proved)
    except OSError as error:
        raise CkptsyncError(f"cannot read {path}: {error.strerror}", hint="check the disk") from None
    finally:
        os.close(descriptor)


def _special(path: Path) -> Finding | None:
    """Return the finding for a path that cannot even be opened because of what it is (a socket)."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) else _special_file(mode, path)


def _special_file(mode: int, path: Path) -> Finding:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return blocker("path.special-file", path.name, "a regular file", kinds.get(stat.S_IFMT(mode), "a device"))


def _read_file(descriptor: int, before: os.stat_result, path: Path, asked: _Asked, proved: str | None) -> ModelReport:
    size = before.st_size
    window = Window(descriptor, 0, size, path.name, whole=True)
    reading = _Reading()
    digest = ""
    try:
        if size <= limits.IN_MEMORY_BYTES:  # one reading: nobody can change what was already checked
            window = Window(window.read(0, size), 0, size, path.name, whole=True)
        if proved is not None or size <= limits.IN_MEMORY_BYTES or asked.trusted:
            digest = proved or _digest(window)
            _collect(window, Approval(asked.own or digest in asked.trusted, asked.trusted), asked, reading)
        else:  # hashing takes as long as everything else, so a large file is hashed beside it
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as pool:
                pending = pool.submit(_digest, window)
                _collect(window, Approval(asked.own), asked, reading)
                digest = pending.result()
    except RefusedError as error:
        reading.findings.append(error.finding)
    after = os.fstat(descriptor)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        reading.findings.append(blocker("file.changed", path.name, hint="it was written while it was read; try again"))
    if not asked.with_content:
        return replace(_report(path, size, digest, reading), content="")
    return _report(path, size, digest, reading)


def _collect(window: Window, approval: Approval, asked: _Asked, reading: _Reading) -> None:
    """Read the format; a refusal becomes a finding."""
    try:
        _read_format(window, approval, asked, reading)
    except RefusedError as error:
        reading.findings.append(error.finding)


def _digest(window: Window) -> str:
    digest = hashlib.sha256()
    for chunk in window.passing():
        digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def _report(path: Path, size: int, digest: str, reading: _Reading) -> ModelReport:
    return ModelReport(
        path=path,
        format=reading.format,
        size_bytes=size,
        digest=digest,
        content=reading.content or digest,
        signature=reading.signature,
        num_timesteps=reading.num_timesteps,
        versions=reading.versions,
        members=reading.members,
        functions=tuple(reading.functions),
        findings=tuple(reading.findings),
        not_checked=tuple(reading.not_checked),
    )


def _read_format(window: Window, approval: Approval, asked: _Asked, reading: _Reading) -> None:
    """Recognise the format by the first bytes, never by the name, and read it."""
    if window.size == 0:
        raise refuse("file.empty", window.name, "a checkpoint", "0 bytes")
    if is_zip(window):
        _read_archive(window, approval, asked, reading)
    elif is_legacy(window):
        reading.format = "torch-legacy"
        _take(read_torch(window, approval, check_values=asked.check_values), reading)
        reading.not_checked.append(_NO_CHECKSUMS)
    elif is_safetensors(window):
        reading.format = "safetensors"
        parameters, reading.findings, reading.not_checked = read_safetensors(window, check_values=asked.check_values)
        reading.not_checked.append(_NO_CHECKSUMS)
        reading.signature = Signature(parameters=parameters)
    elif _is_pickle(window):
        reading.format = "pickle"
        _judge_bare_pickle(window, approval, reading)
    elif window.size > 262 and window.read(257, 5) == b"ustar":
        raise refuse("format.unsupported", window.name, "a zip", "a tar file (torch before 0.4)")
    else:
        raise refuse("format.unknown", window.name, "an SB3, torch or safetensors file", "other bytes")


def _read_archive(window: Window, approval: Approval, asked: _Asked, reading: _Reading) -> None:
    head = window.read(0, min(window.size, 64))
    if head[30:34] == b"data" and head[26:28] == b"\x04\x00":  # so that a damaged one is named too
        reading.format = "sb3"
    entries = read_entries(window)
    reading.members = tuple(MemberInfo(entry.name, entry.size_bytes, entry.crc32) for entry in entries.values())
    if is_sb3(entries):
        reading.format = "sb3"
        content = read_sb3(window, entries, approval, check_values=asked.check_values, with_content=asked.with_content)
        reading.content = content.content
        reading.signature = content.signature
        reading.num_timesteps = content.num_timesteps
        reading.versions = content.versions
        reading.functions = content.functions
        reading.findings = content.findings
        reading.not_checked = content.not_checked
    elif any(name.endswith("/data.pkl") for name in entries):
        reading.format = "torch"
        _take(read_torch(window, approval, check_values=asked.check_values, entries=entries), reading)
    else:
        raise refuse("format.unknown", window.name, "an SB3 or torch file", "another zip")


def _take(content: TorchContent, reading: _Reading) -> None:
    reading.signature = Signature(parameters=content.parameters)
    reading.functions = content.functions
    reading.findings = content.findings


def _is_pickle(window: Window) -> bool:
    head = window.read(0, min(window.size, 2))
    return (head[:1] == b"\x80" and head[1:] <= b"\5") or bool(bare_pickle(window))  # protocol 0 has no mark


def _judge_bare_pickle(window: Window, approval: Approval, reading: _Reading) -> None:
    reading.not_checked.append(f"bytes of {window.name}")
    hint = "loading a pickle can run anything; only files of this run's own lineage are used"
    report = note if approval.own else blocker
    found = bare_pickle(window) or "a pickle"
    reading.findings.append(report("pickle.foreign-global", window.name, "no bare pickle", found, hint))
