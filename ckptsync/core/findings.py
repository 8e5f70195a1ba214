"""Findings: one difference or damage each, and the verdicts that follow from them.

The table CODES is the contract: a code never changes its meaning, new ones may be added. The
reference page of the documentation is generated from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import ExitCode


class Severity(StrEnum):
    """How much a finding matters: a blocker decides the verdict, the others do not."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NOTE = "note"


class Verdict(StrEnum):
    """What a file or set is judged to be, worst first."""

    UNSAFE = "unsafe"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    INCOMPATIBLE = "incompatible"
    VALID = "valid"
    RESTORABLE = "restorable"

    @property
    def good(self) -> bool:
        """Whether a checkpoint with this verdict may be used."""
        return self in (Verdict.VALID, Verdict.RESTORABLE)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of `verify` for this verdict."""
        if self.good:
            return ExitCode.OK
        return ExitCode.INCOMPATIBLE if self is Verdict.INCOMPATIBLE else ExitCode.CORRUPT


_ORDER = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the worst of some verdicts, or None when there are none."""
    return min(verdicts, key=_ORDER.index, default=None)


# code -> (verdict that a blocker of this code leads to, or None for codes that never block; meaning)
CODES: dict[str, tuple[Verdict | None, str]] = {
    # unsafe: would execute or escape
    "pickle.foreign-global": (
        Verdict.UNSAFE,
        "a pickle names a function or class that has no place there; loading it would run it",
    ),
    "pickle.forbidden-opcode": (Verdict.UNSAFE, "a pickle uses an instruction that has no place in a checkpoint"),
    "pickle.function-by-value": (
        Verdict.UNSAFE,
        "a pickle carries byte code that is not SB3's own; a note for a file of this run's own lineage or one trusted by digest",
    ),
    "pickle.bomb": (Verdict.UNSAFE, "a pickle would grow beyond every measure when loaded"),
    "archive.unsafe-name": (Verdict.UNSAFE, "a member's name would leave its folder or contains control characters"),
    "archive.duplicate-member": (
        Verdict.UNSAFE,
        "two members have the same name, so two readers may see two different files",
    ),
    "archive.overlap": (Verdict.UNSAFE, "members overlap, or bytes lie between them that no member owns"),
    "archive.special-member": (
        Verdict.UNSAFE,
        "a member is a symbolic link, a device or a folder where a file belongs",
    ),
    "archive.bomb": (Verdict.UNSAFE, "a member would grow beyond every measure when unpacked"),
    "path.escape": (Verdict.UNSAFE, "a path leads out of its folder, or to a file that is no part of its set"),
    "path.special-file": (Verdict.UNSAFE, "a symbolic link, pipe or device lies where a regular file belongs"),
    "lineage.foreign": (
        Verdict.UNSAFE,
        "the set claims another session, lineage, generation or origin than the session that was launched",
    ),
    # corrupt: the bytes disagree with what they claim to be
    "file.empty": (Verdict.CORRUPT, "the file has no bytes"),
    "file.missing": (Verdict.CORRUPT, "a file that the manifest names is not there"),
    "file.size": (Verdict.CORRUPT, "the file has another size than the manifest says"),
    "file.digest": (Verdict.CORRUPT, "the file's digest differs from the manifest's"),
    "file.changed": (Verdict.CORRUPT, "the file was written to while it was read"),
    "archive.damaged": (Verdict.CORRUPT, "the archive is truncated or its directory disagrees with its members"),
    "archive.checksum": (Verdict.CORRUPT, "a member's bytes disagree with its checksum"),
    "archive.missing-member": (Verdict.CORRUPT, "a member that belongs to this format is missing"),
    "pickle.damaged": (Verdict.CORRUPT, "a pickle ends early or makes no sense"),
    "json.damaged": (Verdict.CORRUPT, "a JSON text is not valid"),
    "tensor.geometry": (Verdict.CORRUPT, "a tensor's shape, strides and storage disagree"),
    "tensor.not-finite": (Verdict.CORRUPT, "weights are NaN or infinite"),
    "manifest.damaged": (
        Verdict.CORRUPT,
        "the manifest is no valid JSON, lacks a field, or disagrees with its own digest or with its model",
    ),
    "metadata.damaged": (Verdict.CORRUPT, "the local metadata that checkpoints are compared with cannot be read"),
    # unreadable: not known, and refused for that
    "format.unknown": (Verdict.UNREADABLE, "the file is in no format that ckptsync reads"),
    "format.unsupported": (
        Verdict.UNREADABLE,
        "the format is known and refused (TorchScript, tar, encryption, rare compression)",
    ),
    "format.too-large": (Verdict.UNREADABLE, "a part is larger than the limit for its kind"),
    "manifest.schema": (Verdict.UNREADABLE, "the manifest has a schema that this version does not know"),
    # incompatible: another architecture
    "arch.parameter-shape": (Verdict.INCOMPATIBLE, "a parameter has another shape"),
    "arch.parameter-dtype": (Verdict.INCOMPATIBLE, "a parameter has another dtype"),
    "arch.parameter-missing": (Verdict.INCOMPATIBLE, "a parameter that the current network has is missing"),
    "arch.parameter-extra": (Verdict.INCOMPATIBLE, "the checkpoint has a parameter that the current network lacks"),
    "arch.net-arch": (Verdict.INCOMPATIBLE, "the network's layers have other sizes"),
    "arch.algorithm": (Verdict.INCOMPATIBLE, "another algorithm wrote the checkpoint"),
    "arch.policy": (Verdict.INCOMPATIBLE, "another policy class wrote the checkpoint"),
    "arch.observation-space": (Verdict.INCOMPATIBLE, "the observation space differs"),
    "arch.action-space": (Verdict.INCOMPATIBLE, "the action space differs"),
    # never a blocker
    "name.num-timesteps": (None, "the file's name and its content disagree on num_timesteps"),
    "version.skew": (None, "another version of Python or a library wrote the checkpoint"),
    "expectation.missing": (None, "there is nothing to compare the checkpoint with, so its fit is not known"),
    "set.torn": (None, "a save was cut short; its files are no candidate and are swept later"),
    "set.unsealed": (None, "a plain file without a manifest: usable, but nothing vouches for it"),
    "set.fallback": (None, "the newest set is broken; an older good one is used"),
    "lineage.behind": (None, "something newer is in place"),
    "lineage.branch": (None, "the set does not descend from the head"),
    "head.damaged": (None, "the head file cannot be used; the newest sealed set counts"),
}


@dataclass(frozen=True)
class Finding:
    """One difference or damage.

    Args:
        code: a key of CODES.
        severity: blockers decide the verdict.
        subject: what it is about: a parameter, a member, a file.
        expected: what should be there (JSON value), or None.
        actual: what is there (JSON value), or None.
        hint: the likely cause and what to do, in words.
    """

    code: str
    severity: Severity
    subject: str
    expected: Any = None
    actual: Any = None
    hint: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown finding code {self.code!r}")
        if self.severity is Severity.BLOCKER and CODES[self.code][0] is None:
            raise ValueError(f"finding code {self.code!r} never blocks")

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that this finding alone leads to, or None when it does not block."""
        return CODES[self.code][0] if self.severity is Severity.BLOCKER else None

    def to_json(self) -> dict[str, Any]:
        """Return the finding as the JSON object of the `--json` outputs."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "expected": self.expected,
            "actual": self.actual,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        text = f"{self.subject}: {CODES[self.code][1]}"
        sides = [("expected", self.expected), ("found", self.actual)]
        told = ", ".join(f"{word} {value}" for word, value in sides if value is not None)
        return f"{text} ({told})" if told else text


def blocker(code: str, subject: str, expected: Any = None, actual: Any = None, hint: str = "") -> Finding:
    """Make a finding that decides the verdict."""
    return Finding(code, Severity.BLOCKER, subject, expected, actual, hint)


def warning(code: str, subject: str, expected: Any = None, actual: Any = None, hint: str = "") -> Finding:
    """Make a finding that people should see but that does not decide."""
    return Finding(code, Severity.WARNING, subject, expected, actual, hint)


def note(code: str, subject: str, expected: Any = None, actual: Any = None, hint: str = "") -> Finding:
    """Make a finding for the record."""
    return Finding(code, Severity.NOTE, subject, expected, actual, hint)


def verdict_of(findings: Iterable[Finding], *, compared: bool) -> Verdict:
    """Return the verdict that some findings lead to.

    Args:
        findings: all findings about one checkpoint.
        compared: whether it was compared with an expectation (then sound means `restorable`, else `valid`).
    """
    decided = worst(verdict for finding in findings if (verdict := finding.verdict) is not None)
    if decided is not None:
        return decided
    return Verdict.RESTORABLE if compared else Verdict.VALID
