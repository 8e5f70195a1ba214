"""What reading a model file gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..findings import Finding
from ..signature import Signature


@dataclass(frozen=True)
class CodeByValue:
    """A function or class whose code itself lies in a pickle.

    Args:
        field: the field of SB3's `data` or the member that holds it.
        name: the code object's name, `<lambda>`.
        digest: `sha256:...` of the code's structure: byte code, constants, names, recursively; not of paths and line
            numbers, so it is the same for the same code anywhere within one version of Python.
        known: recognised as SB3's own.
    """

    field: str
    name: str
    digest: str
    known: bool


@dataclass(frozen=True)
class MemberInfo:
    """One member of an archive."""

    name: str
    size_bytes: int
    crc32: int | None


@dataclass(frozen=True)
class ModelReport:
    """All that is known about a model file without executing it.

    Args:
        path: the file, as it was given.
        format: `sb3`, `torch`, `torch-legacy`, `safetensors`, `pickle` or `unknown`.
        size_bytes: the file's size.
        digest: `sha256:...` of the file's bytes; empty only when it cannot be opened.
        content: `sha256:...` over names and bytes of the tensor members of an SB3 file, so that two saves of the same
            weights are equal although SB3 stamps times into the archive; for every other format the same as `digest`. Empty where
            nobody asked for it.
        signature: the network.
        num_timesteps: SB3's counter, or None where the format has none.
        versions: what wrote it, as far as known: `stable_baselines3`, `torch`, `python`, `numpy`, `gymnasium`, `gym`,
            `cloudpickle`.
        members: the members of the archive in the order in which they lie.
        functions: code that lies in the file by value.
        findings: everything that people should know; a blocker decides.
        not_checked: in words, what was not looked at.
    """

    path: Path
    format: str
    size_bytes: int
    digest: str
    content: str
    signature: Signature
    num_timesteps: int | None
    versions: Mapping[str, str]
    members: tuple[MemberInfo, ...]
    functions: tuple[CodeByValue, ...]
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
