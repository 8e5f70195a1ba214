"""ls, show, diff: what lies where, and how two checkpoints differ. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import sets
from ..core.compare import compare
from ..core.errors import CorruptError, ExitCode, NothingFoundError
from ..core.findings import Finding, Severity
from ..core.readers.layers import layer_digests
from ..core.sets import SetState, StoredSet
from ..core.signature import Signature
from .changes import Change, changes
from .judge import Terms
from .report import CheckpointReport, FileReport, VerifyReport
from .reporting import Reporter, shown_path
from .store.tier_states import known_states
from .targets import find_target, standings
from .verify import one_report, verify_path

if TYPE_CHECKING:
    from ..project.config import Project, RunConfig
    from .verdicts import VerdictCache

LIST_SCHEMA = "ckptsync.ls/1"
SHOW_SCHEMA = "ckptsync.show/1"
DIFF_SCHEMA = "ckptsync.diff/1"

ListReport = VerifyReport


@dataclass(frozen=True)
class DiffReport:
    """How two checkpoints differ.

    Args:
        left: the first.
        right: the second.
        findings: `expected` is the first's, `actual` the second's.
        changed_layers: names of the parameters that both have, with other numbers.
        changes: in what their manifests differ; nothing where one has none.
    """

    left: CheckpointReport
    right: CheckpointReport
    findings: tuple[Finding, ...]
    changed_layers: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when one fits where the other does, else 5."""
        return int(ExitCode.INCOMPATIBLE if self.findings else ExitCode.OK)

    @property
    def same_weights(self) -> bool:
        """Whether both hold equal tensors."""
        return self.left.content is not None and self.left.content == self.right.content

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": DIFF_SCHEMA,
            "exit_code": self.exit_code,
            "left": self.left.to_json(),
            "right": self.right.to_json(),
            "same_weights": self.same_weights,
            "findings": [finding.to_json() for finding in self.findings],
            "changed_layers": list(self.changed_layers),
            "changes": [change.to_json() for change in self.changes],
        }


def list_tree(project: Project, run: RunConfig, reporter: Reporter | None = None) -> ListReport:
    """List the sets of a run's training tree, with verdicts where a full check still holds, and their copies in stores.

    Raises:
        NothingFoundError: there are none yet.
    """
    from .verdicts import VerdictCache

    report = list_path(shown_path(project.tree(run).root), cache=VerdictCache(project))
    states = known_states(project, run)
    if not states:
        return report
    return replace(
        report,
        checkpoints=tuple(
            replace(item, copies=tuple(s.tier for s in states if item.manifest and item.manifest.digest in s.holds))
            for item in report.checkpoints
        ),
    )


def list_path(path: Path, *, cache: VerdictCache | None = None) -> ListReport:
    """List the checkpoints that a path holds, reading seals only.

    Args:
        path: a file or folder.
        cache: where verdicts of full checks are kept.

    Raises:
        NothingFoundError: it does not exist or holds none.
    """
    target = find_target(path)
    findings: list[Finding] = []
    listed: list[CheckpointReport] = []
    for tree in target.trees:
        stored = sets.scan(tree.checkpoints)
        places = standings(tree, stored)
        heads = {scenario: place.head.digest for scenario, place in places.items() if place.head is not None}
        findings += [f for place in places.values() for f in place.findings if f.code == "head.damaged"]
        findings += [s.finding for s in stored if s.state is SetState.TORN and s.finding is not None]
        listed += [_listed(s, heads.get(s.scenario), cache) for s in stored if s.state is not SetState.TORN]
    if isinstance(target.one, StoredSet):
        listed.append(_listed(target.one, None, cache))
    loose = [*target.loose, *([target.one] if isinstance(target.one, Path) else [])]
    listed += [_listed_file(file) for file in loose]
    if not listed:
        raise NothingFoundError(f"No checkpoints found in {path}: only saves that were cut short")
    return VerifyReport(str(path), tuple(findings), tuple(listed), LIST_SCHEMA, listed_only=True)


def show_path(path: Path, project: Project | None = None, against: Path | None = None) -> VerifyReport:
    """Judge one checkpoint and tell everything about it.

    Raises:
        NothingFoundError: it does not exist, or a folder holds none.
        UsageError: a folder holds several.
    """
    report = verify_path(path, project=project, against=against, only_newest=True)
    return replace(report, schema=SHOW_SCHEMA)


def diff_paths(a: Path, b: Path) -> DiffReport:
    """Say how two checkpoints differ: in architecture, weights, metrics, configuration and files.

    Raises:
        NothingFoundError: one does not exist.
        CorruptError: one cannot be read; the message names it.
    """
    left, right = _readable(a), _readable(b)
    old, new = _network(left), _network(right)
    causes = {finding.subject: finding.hint for finding in compare(old, new)}  # "changed from" the first to the second
    findings = tuple(replace(f, hint=causes.get(f.subject, f.hint)) for f in compare(new, old))
    return DiffReport(
        left,
        right,
        findings,
        _changed_layers(left, right),
        changes(left.manifest, right.manifest) if left.manifest is not None and right.manifest is not None else (),
    )


def _changed_layers(left: CheckpointReport, right: CheckpointReport) -> tuple[str, ...]:
    old, new = layer_digests(left.path), layer_digests(right.path)
    return tuple(name for name in old if name in new and old[name] != new[name])


def _readable(path: Path) -> CheckpointReport:
    report = one_report(path, Terms(own=True))
    blocking = next((finding for finding in report.findings if finding.severity is Severity.BLOCKER), None)
    if blocking is not None:
        raise CorruptError(f"cannot compare {path}: {blocking}", hint=f"ckptsync verify {path}")
    return report


def _network(report: CheckpointReport) -> Signature:
    if report.signature is None or not report.signature.parameters:
        raise CorruptError(
            f"cannot compare {report.path}: no network can be read in it", hint=f"ckptsync verify {report.path}"
        )
    return report.signature


def _listed(stored: StoredSet, head: str | None, cache: VerdictCache | None) -> CheckpointReport:
    manifest = stored.manifest
    if manifest is None:
        report = _listed_file(stored.model_path)
        findings = (stored.finding,) if stored.finding is not None else ()
        return replace(
            report,
            scenario=stored.scenario,
            num_timesteps=stored.num_timesteps,
            sealed=stored.state is SetState.CORRUPT,
            findings=findings,
        )
    model = stored.model_path
    return CheckpointReport(
        path=model,
        scenario=manifest.scenario,
        num_timesteps=manifest.num_timesteps,
        kind=manifest.kind,
        sealed=True,
        head=manifest.digest == head,
        verdict=cache.get(stored.folder, manifest) if cache is not None else None,
        algorithm=manifest.signature.algorithm,
        files=tuple(
            FileReport(
                model if entry is manifest.model else stored.folder / entry.path,
                entry.role,
                entry.size_bytes,
                entry.digest,
            )
            for entry in manifest.files
        ),
        signature=manifest.signature,
        versions=manifest.versions,
        manifest=manifest,
    )


def _listed_file(path: Path) -> CheckpointReport:
    size = path.stat().st_size if path.is_file() else None
    file = FileReport(path, "model", size, None)
    return CheckpointReport(path, None, None, None, sealed=False, head=False, verdict=None, files=(file,))
