"""What judging checkpoints gives: the object of `verify`, `show` and `ls`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import ExitCode
from ..core.findings import Finding, Verdict, worst
from ..core.manifest import SEGMENT, Manifest
from ..core.readers import CodeByValue
from ..core.signature import Signature

VERIFY_SCHEMA = "ckptsync.verify/1"


@dataclass(frozen=True)
class FileReport:
    """One file of a checkpoint; size and digest are those found, None where they were not looked at."""

    path: Path
    role: str
    size_bytes: int | None
    digest: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the file as it stands in the JSON outputs."""
        return {"path": str(self.path), "role": self.role, "size_bytes": self.size_bytes, "digest": self.digest}


@dataclass(frozen=True)
class CheckpointReport:
    """One checkpoint, judged or only listed.

    Args:
        path: its model file; its manifest where that is all there is.
        scenario: whose it is, as far as known.
        num_timesteps: N by its content, else by its name.
        kind: why it was saved; None for unsealed files.
        sealed: whether a manifest vouches for it.
        head: whether the next session starts from it.
        verdict: what it is; None when it was only listed.
        algorithm: the class name, or None.
        files: its files, the model first.
        signature: the network, or None when it could not be read.
        findings: everything that people should know.
        functions: code that lies in it by value.
        versions: of Python and the libraries that wrote it.
        manifest: its seal, where sealed.
        content: digest over the tensors alone.
        not_checked: in words, what was not looked at.
        compared_with: in words, what it was compared with; None: with nothing.
        copies: the stores that had it when they were last seen; None: there are none, or nobody looked.
    """

    path: Path
    scenario: str | None
    num_timesteps: int | None
    kind: str | None
    sealed: bool
    head: bool
    verdict: Verdict | None
    algorithm: str | None = None
    files: tuple[FileReport, ...] = ()
    signature: Signature | None = None
    findings: tuple[Finding, ...] = ()
    functions: tuple[CodeByValue, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    manifest: Manifest | None = None
    content: str | None = None
    not_checked: tuple[str, ...] = ()
    compared_with: str | None = None
    copies: tuple[str, ...] | None = None

    @property
    def own(self) -> tuple[FileReport, ...]:
        """The files that belong to it alone."""
        return tuple(file for file in self.files if file.role != SEGMENT)

    @property
    def shared(self) -> tuple[FileReport, ...]:
        """Its segments, which other checkpoints may share."""
        return tuple(file for file in self.files if file.role == SEGMENT)

    @property
    def good(self) -> bool:
        """Whether it was judged and may be used."""
        return self.verdict is not None and self.verdict.good

    def to_json(self) -> dict[str, Any]:
        """Return the checkpoint as it stands in the JSON outputs."""
        manifest = self.manifest
        fidelity = {"captured": manifest.captured, "reasons": list(manifest.captured_reasons)} if manifest else None
        return {
            "path": str(self.path),
            "scenario": self.scenario,
            "num_timesteps": self.num_timesteps,
            "kind": self.kind,
            "sealed": self.sealed,
            "head": self.head,
            "verdict": self.verdict,
            "algorithm": self.algorithm,
            "files": [file.to_json() for file in self.files],
            "signature": self.signature.to_json() if self.signature else None,
            "findings": [finding.to_json() for finding in self.findings],
            "lineage": manifest.lineage if manifest else None,
            "generation": manifest.generation if manifest else None,
            "session": manifest.session if manifest else None,
            "fidelity": fidelity,
            "versions": dict(self.versions),
            "created_at": manifest.created_at if manifest else None,
            "content": self.content,
            "functions": [
                {"field": code.field, "name": code.name, "digest": code.digest, "known": code.known}
                for code in self.functions
            ],
            "not_checked": list(self.not_checked),
            "compared_with": self.compared_with,
            "copies": list(self.copies) if self.copies is not None else None,
        }


@dataclass(frozen=True)
class VerifyReport:
    """The verdict over a whole target.

    Args:
        target: what was judged, as it was named.
        findings: what concerns no single checkpoint.
        checkpoints: each one, in the order of scenario and num_timesteps.
        schema: of the JSON object.
        listed_only: nothing was judged, as `ls` does.
    """

    target: str
    findings: tuple[Finding, ...]
    checkpoints: tuple[CheckpointReport, ...]
    schema: str = VERIFY_SCHEMA
    listed_only: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; a segment that several checkpoints share counts once."""
        sizes = {file.path: file.size_bytes or 0 for checkpoint in self.checkpoints for file in checkpoint.files}
        return sum(sizes.values())

    @property
    def verdict(self) -> Verdict | None:
        """The worst of all checkpoints and findings; None when nothing was judged."""
        if self.listed_only:
            return None
        verdicts = [c.verdict for c in self.checkpoints if c.verdict is not None]
        blocking = [found for finding in self.findings if (found := finding.verdict) is not None]
        return worst([*verdicts, *blocking])

    @property
    def exit_code(self) -> int:
        """What `verify` exits with."""
        return int(self.verdict.exit_code) if self.verdict is not None else int(ExitCode.OK)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": self.schema,
            "target": self.target,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "findings": [finding.to_json() for finding in self.findings],
            "checkpoints": [checkpoint.to_json() for checkpoint in self.checkpoints],
        }
