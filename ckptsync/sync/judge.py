"""Judging one checkpoint: seal, bytes, network, fit. Reads only, executes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core import names, sets
from ..core.errors import NothingFoundError
from ..core.findings import Finding, Severity, blocker, note, verdict_of, warning
from ..core.manifest import FileEntry, Manifest
from ..core.readers import ModelReport, read_model
from ..core.sets import Hashed, SetState, StoredSet
from ..core.signature import Signature
from .expectation import differences
from .report import CheckpointReport, FileReport
from .versions import skew


@dataclass(frozen=True)
class Terms:
    """What a checkpoint is judged by.

    Args:
        expectation: the network that it must fit, or None.
        source: in words, where the expectation comes from; None with it.
        own: the file comes from this run's own lineage: a user's own functions in it are notes.
        trusted: digests of functions and files that the configuration approves.
        proved: path -> digest of a file that was hashed on its way here and has not changed since, or None.
            It is spared a second hash; the model is read and checked whole nevertheless.
        with_content: find the digest of the model's content too, which costs another hash.
        hashed: segments that were hashed a moment ago; sets that are judged together share it, and fill it.
    """

    expectation: Signature | None = None
    source: str | None = None
    own: bool = False
    trusted: Collection[str] = ()
    proved: Callable[[Path], str | None] = lambda path: None
    with_content: bool = True
    hashed: Hashed = field(default_factory=dict)


def judge_set(stored: StoredSet, terms: Terms, *, head: bool = False) -> CheckpointReport:
    """Judge a sealed, unsealed or corrupt set.

    Args:
        stored: what `scan` found; a torn one is no checkpoint.
        terms: what it is judged by.
        head: whether the next session starts from it.
    """
    if stored.manifest is None:
        if stored.state is SetState.CORRUPT:
            return _damaged_seal(stored, head)
        return judge_file(stored.model_path, terms, head=head)
    return _judge_sealed(stored, stored.manifest, terms, head)


def judge_file(path: Path, terms: Terms, *, head: bool = False) -> CheckpointReport:
    """Judge a file that no manifest vouches for.

    Raises:
        NothingFoundError: it does not exist.
    """
    model = read_model(path, own=terms.own, trusted=terms.trusted)
    parts = names.parse_stem(path.name.removesuffix(names.MODEL_SUFFIX), classic=True)
    findings = [*model.findings, *_name_findings(path, model), *_fit(model, terms), *skew(model.versions)]
    findings.append(note("set.unsealed", path.name))
    named = parts.num_timesteps if parts else None
    return CheckpointReport(
        path=path,
        scenario=parts.scenario if parts else None,
        num_timesteps=named if model.num_timesteps is None else model.num_timesteps,
        kind=None,
        sealed=False,
        head=head,
        verdict=verdict_of(findings, compared=terms.expectation is not None),
        algorithm=model.signature.algorithm,
        files=(FileReport(path, "model", model.size_bytes, model.digest or None),),
        signature=model.signature,
        findings=tuple(findings),
        functions=model.functions,
        versions=model.versions,
        content=model.content,
        not_checked=model.not_checked,
        compared_with=terms.source,
    )


def _damaged_seal(stored: StoredSet, head: bool) -> CheckpointReport:
    # The seal is there, so this is no plain SB3 file, whatever the model looks like
    findings = (stored.finding,) if stored.finding is not None else ()
    return CheckpointReport(
        path=stored.model_path,
        scenario=stored.scenario,
        num_timesteps=stored.num_timesteps,
        kind=None,
        sealed=True,
        head=head,
        verdict=verdict_of(findings, compared=False),
        findings=findings,
        not_checked=("the files, for nothing says what they should be",),
    )


def _judge_sealed(stored: StoredSet, manifest: Manifest, terms: Terms, head: bool) -> CheckpointReport:
    path = stored.folder / manifest.model.path
    model, findings = _read_sealed_model(path, manifest.model, terms)
    files = [FileReport(path, "model", model.size_bytes if model else None, model.digest if model else None)]
    for entry in manifest.files[1:]:
        file, found = _check_member(stored.folder, entry, terms)
        files.append(file)
        findings += found
    not_checked = [f"what lies in {e.path} (its bytes agree with the seal)" for e in manifest.members[1:]]
    if manifest.segments:
        not_checked.append(f"what lies in the {len(manifest.segments)} segments (their bytes agree with the seal)")
    if model is not None:
        not_checked = [*model.not_checked, *not_checked]
        findings += _name_findings(path, model)
        findings += _lies(manifest, model)
        findings += _fit(model, terms)
    findings += skew(manifest.versions)
    steps = model.num_timesteps if model is not None and model.num_timesteps is not None else manifest.num_timesteps
    known = model.signature if model is not None and model.signature.parameters else manifest.signature
    return CheckpointReport(
        path=path,
        scenario=manifest.scenario,
        num_timesteps=steps,
        kind=manifest.kind,
        sealed=True,
        head=head,
        verdict=verdict_of(findings, compared=terms.expectation is not None),
        algorithm=known.algorithm or manifest.signature.algorithm,
        files=tuple(files),
        signature=replace(known, algorithm=known.algorithm or manifest.signature.algorithm),
        findings=tuple(findings),
        functions=model.functions if model else (),
        versions=manifest.versions,
        manifest=manifest,
        content=(model.content or None) if model else None,
        not_checked=tuple(not_checked),
        compared_with=terms.source,
    )


def _read_sealed_model(path: Path, entry: FileEntry, terms: Terms) -> tuple[ModelReport | None, list[Finding]]:
    if path.is_symlink():  # a link that a person typed is followed, one that lies in a set never
        return None, [blocker("path.special-file", entry.path)]
    try:
        model = read_model(
            path, own=terms.own, trusted=terms.trusted, proved=terms.proved(path), with_content=terms.with_content
        )
    except NothingFoundError:
        return None, [blocker("file.missing", entry.path, hint="run 'ckptsync fetch' again, or use an older set")]
    findings = list(model.findings)
    if any(finding.verdict is not None for finding in findings) and not model.digest:
        return model, findings
    if model.size_bytes != entry.size_bytes:
        hint = "the file is truncated or was changed after sealing"
        findings.append(blocker("file.size", entry.path, entry.size_bytes, model.size_bytes, hint))
    elif model.digest != entry.digest:
        findings.append(
            blocker("file.digest", entry.path, entry.digest, model.digest, "the file was changed after sealing")
        )
    return model, findings


def _check_member(folder: Path, entry: FileEntry, terms: Terms) -> tuple[FileReport, tuple[Finding, ...]]:
    path = folder / entry.path
    proved = terms.proved(path)
    if proved == entry.digest and path.stat().st_size == entry.size_bytes:
        return FileReport(path, entry.role, entry.size_bytes, proved), ()
    finding = sets.check_file(folder, entry, terms.hashed)
    if finding is not None:
        return FileReport(path, entry.role, None, None), (finding,)
    return FileReport(path, entry.role, entry.size_bytes, entry.digest), ()


def _name_findings(path: Path, model: ModelReport) -> tuple[Finding, ...]:
    parts = names.parse_stem(path.name.removesuffix(names.MODEL_SUFFIX), classic=True)
    if parts is None or model.num_timesteps is None or parts.num_timesteps == model.num_timesteps:
        return ()
    hint = "the content counts; the file was renamed, or num_timesteps was reset after loading"
    return (warning("name.num-timesteps", path.name, parts.num_timesteps, model.num_timesteps, hint),)


def _lies(manifest: Manifest, model: ModelReport) -> tuple[Finding, ...]:
    """Say where a manifest claims another network than its model holds."""
    if not model.signature.parameters:
        return ()
    from ..core.compare import compare

    hint = "the manifest describes another network than its model file holds"
    return tuple(
        blocker("manifest.damaged", finding.subject, finding.expected, finding.actual, hint)
        for finding in compare(model.signature, manifest.signature)
    )


def _fit(model: ModelReport, terms: Terms) -> tuple[Finding, ...]:
    broken = any(finding.severity is Severity.BLOCKER for finding in model.findings)
    if terms.expectation is None or (broken and not model.signature.parameters):
        return ()  # a network that could not be read differs from nothing in particular
    return differences(model.signature, terms.expectation)
