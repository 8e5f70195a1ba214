"""How checkpoints read: the blocks of `verify`, the card of `show`, the table of `ls`, the lines of `diff`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ..core.findings import Finding, Severity, Verdict
from ..core.units import size_text
from . import text
from .text import Line, Part, Role, Styled

if TYPE_CHECKING:
    from ..core.signature import TensorSpec
    from ..sync.inspect import DiffReport
    from ..sync.report import CheckpointReport, FileReport, VerifyReport

_FEW_PARAMETERS = 12
_WIDTH = 90
_MEANING = {
    Verdict.UNSAFE: "it would execute or escape; do not load it",
    Verdict.CORRUPT: "its bytes are damaged",
    Verdict.UNREADABLE: "a format that ckptsync does not know, and refuses for that",
    Verdict.INCOMPATIBLE: "another architecture than expected",
    Verdict.VALID: "sound; there is nothing to compare it with",
    Verdict.RESTORABLE: "sound and fitting",
}
_COLUMN = 14
_ROLES: Mapping[Severity, Role] = {Severity.BLOCKER: "bad", Severity.WARNING: "warn", Severity.NOTE: "dim"}
# Findings for programs; people read "not sealed" in the line of facts
_SAID_ANYWAY = ("set.unsealed",)


def verdict_part(verdict: Verdict | None, width: int = 0) -> Part:
    """Return a verdict as a coloured word; `-` where nothing was judged."""
    if verdict is None:
        return "-".ljust(width)
    return Styled(verdict.value.ljust(width), "good" if verdict.good else "bad")


def verified(report: VerifyReport) -> Iterator[Line]:
    """Return a block for each checkpoint, what concerns the whole, and a summary where there are several."""
    for checkpoint in report.checkpoints:
        yield [verdict_part(checkpoint.verdict, _COLUMN), str(checkpoint.path)]
        yield " " * _COLUMN + _in_a_line(checkpoint)
        if checkpoint.verdict is not None and not checkpoint.verdict.good:
            yield " " * _COLUMN + _MEANING[checkpoint.verdict]
        yield from _indented(finding_lines(checkpoint.findings), _COLUMN)
    yield from finding_lines(report.findings)
    yield from _compared(report)
    if len(report.checkpoints) > 1:
        counts = Counter(checkpoint.verdict for checkpoint in report.checkpoints)
        told = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in Verdict if counts[verdict])
        yield [verdict_part(report.verdict, _COLUMN), f"{report.target}: {told}"]


def _compared(report: VerifyReport) -> Iterator[Line]:
    # Said once, however many checkpoints were compared with it
    for source in dict.fromkeys(checkpoint.compared_with for checkpoint in report.checkpoints):
        if source is not None:
            yield [" " * _COLUMN, text.dim(f"compared with {source}")]


def _in_a_line(checkpoint: CheckpointReport) -> str:
    facts = [
        checkpoint.algorithm,
        checkpoint.scenario,
        None if checkpoint.num_timesteps is None else f"{checkpoint.num_timesteps:,} steps",
        checkpoint.kind,
        "sealed" if checkpoint.sealed else "not sealed",
        "head" if checkpoint.head else None,
        f"{_size(checkpoint.own)} in {text.count(len(checkpoint.own), 'file')}",
        _shared(checkpoint) if checkpoint.shared else None,
    ]
    return " · ".join(fact for fact in facts if fact)


def _size(files: Iterable[FileReport]) -> str:
    """Return the size of some files together."""
    return size_text(sum(file.size_bytes or 0 for file in files))


def _shared(checkpoint: CheckpointReport) -> str:
    return f"{_size(checkpoint.shared)} shared in {text.count(len(checkpoint.shared), 'segment')}"


def _indented(lines: Iterable[Line], columns: int) -> Iterator[Line]:
    for line in lines:
        yield [" " * columns, *text.parts_of(line)]


def finding_lines(findings: Iterable[Finding]) -> Iterator[Line]:
    """Return findings as lines, the incompatible ones in the words that people search for."""
    findings = tuple(findings)
    incompatible = [finding for finding in findings if finding.verdict is Verdict.INCOMPATIBLE]
    if incompatible:
        from ..core.compare import describe_incompatibility

        first, *rest = describe_incompatibility(incompatible)
        yield text.bad(first)
        yield from rest
    skewed = [finding for finding in findings if finding.code == "version.skew"]
    for finding in findings:
        if finding in incompatible or finding in skewed or finding.code in _SAID_ANYWAY:
            continue
        yield [Styled(f"{finding.code}: ", _ROLES[finding.severity]), str(finding)]
        if finding.hint:
            yield f"  {finding.hint}"
    if skewed:
        versions = (f"{finding.subject} {finding.actual} (here {finding.expected})" for finding in skewed)
        yield [text.warn("version.skew: "), "written with " + ", ".join(versions)]


def shown(report: VerifyReport, *, every_parameter: bool) -> Iterator[Line]:
    """Return the card of each checkpoint."""
    for number, checkpoint in enumerate(report.checkpoints):
        if number:
            yield ""
        yield text.strong(str(checkpoint.path))
        yield from _facts(checkpoint)
        if checkpoint.signature is not None:
            yield from _parameters(checkpoint.signature.parameters, every_parameter)
        findings = list(finding_lines(checkpoint.findings))
        if findings:
            yield ""
            yield from _indented(findings, 2)
    yield from finding_lines(report.findings)


def _facts(checkpoint: CheckpointReport) -> Iterator[Line]:
    signature, manifest = checkpoint.signature, checkpoint.manifest
    if checkpoint.verdict is not None:
        yield _fact("verdict", verdict_part(checkpoint.verdict), f": {_MEANING[checkpoint.verdict]}")
    if checkpoint.compared_with is not None:
        yield _fact("compared with", checkpoint.compared_with)
    yield _fact("algorithm", text.value(checkpoint.algorithm), f", policy {text.value(signature and signature.policy)}")
    yield _fact("scenario", text.value(checkpoint.scenario))
    yield _fact("num_timesteps", text.value(checkpoint.num_timesteps))
    yield _fact(
        "sealed", ("yes" if checkpoint.sealed else "no") + (", head of its scenario" if checkpoint.head else "")
    )
    if signature is not None:
        yield _fact("observations", space(signature.observation_space))
        yield _fact("actions", space(signature.action_space))
        yield _fact("net_arch", text.value(signature.net_arch))
    if manifest is not None:
        yield _fact("kind", manifest.kind, f", saved at {manifest.created_at}" if manifest.created_at else "")
        yield _fact(
            "lineage", f"{manifest.lineage}, generation {manifest.generation}, session {manifest.session or '-'}"
        )
        if manifest.resumed_from is not None:
            origin = manifest.resumed_from
            yield _fact("resumed from", f"{origin.num_timesteps:,} steps of {origin.session or 'local training'}")
        yield _fact("captured", "; ".join([manifest.captured, *manifest.captured_reasons]))
        if manifest.versions:
            yield from _facts_list("written by", (f"{name} {version}" for name, version in manifest.versions.items()))
        if manifest.metrics:
            yield from _facts_list("metrics", (f"{name} {number:g}" for name, number in manifest.metrics.items()))
    for file in checkpoint.own:
        size = "missing" if file.size_bytes is None else size_text(file.size_bytes)
        yield _fact(file.role, ", ".join([file.path.name, size, *([file.digest] if file.digest else [])]))
    if checkpoint.shared:
        yield _fact("segments", _shared(checkpoint))
    yield from _facts_list("not checked", checkpoint.not_checked)


def _fact(name: str, *parts: Part) -> Line:
    return ["  ", text.dim(name.ljust(_COLUMN)), *parts]


def _facts_list(name: str, items: Iterable[str]) -> Iterator[Line]:
    """Return items as lines of bounded width under one name; an item is never broken."""
    line = ""
    for item in items:
        if line and len(line) + len(item) > _WIDTH:
            yield _fact(name, line + ",")
            name, line = "", ""
        line += f", {item}" if line else item
    if line:
        yield _fact(name, line)


def _parameters(parameters: Mapping[str, TensorSpec], every: bool) -> Iterator[Line]:
    total = sum(prod(spec.shape) for spec in parameters.values())
    yield ""
    yield f"  {text.count(len(parameters), 'parameter')}, {text.count(total, 'number')}"
    kept = len(parameters) if every or len(parameters) <= _FEW_PARAMETERS else _FEW_PARAMETERS - 2
    rows = [(name, str(list(spec.shape)), spec.dtype) for name, spec in list(parameters.items())[:kept]]
    if rows:
        yield from _indented(text.table(("name", "shape", "dtype"), rows), 2)
    if kept < len(parameters):
        yield f"  ... and {len(parameters) - kept} more; --all shows them"


def space(description: Mapping[str, Any] | None) -> str:
    """Return a space in a few words: `box [4] float32`, `discrete 2`."""
    if description is None:
        return "-"
    words = [str(description.get("kind"))]
    if isinstance(spaces := description.get("spaces"), Mapping):
        words.append("{" + ", ".join(f"{name}: {space(part)}" for name, part in spaces.items()) + "}")
    elif isinstance(spaces, list):
        words.append("(" + ", ".join(space(part) for part in spaces) + ")")
    words += [str(description[key]) for key in ("shape", "n", "nvec", "dtype", "class") if key in description]
    return " ".join(words)


def listed(report: VerifyReport) -> Iterator[Line]:
    """Return the table of a tree's checkpoints."""
    rows = []
    sharing = any(checkpoint.shared for checkpoint in report.checkpoints)
    copied = any(checkpoint.copies is not None for checkpoint in report.checkpoints)
    for checkpoint in report.checkpoints:
        manifest = checkpoint.manifest
        state: Part = "sealed" if checkpoint.sealed else text.warn("not sealed")
        rows.append(
            (
                checkpoint.scenario or "-",
                text.value(checkpoint.num_timesteps),
                checkpoint.kind or "-",
                f"{manifest.generation}" if manifest else "-",
                _size(checkpoint.own),
                *([_size(checkpoint.shared)] if sharing else []),
                state,
                verdict_part(checkpoint.verdict),
                text.good("head") if checkpoint.head else "",
                *([", ".join(checkpoint.copies or ()) or "-"] if copied else []),
                checkpoint.path.name,
            )
        )
    yield str(report.target)
    if rows:
        sizes = ("size", "shared") if sharing else ("size",)
        named = ("copies",) if copied else ()
        head = ("scenario", "num_timesteps", "kind", "generation", *sizes, "state", "verdict", "", *named, "file")
        yield from text.table(head, rows, right=(1, 3, 4, 5) if sharing else (1, 3, 4))
    if sharing:
        yield text.dim(f"{size_text(report.size_bytes)} together; what checkpoints share counts once")
    yield from finding_lines(report.findings)


def differences(report: DiffReport) -> Iterator[Line]:
    """Return lines with - as it is in the first checkpoint and + as it is in the second."""
    yield text.bad(f"--- {report.left.path}")
    yield text.good(f"+++ {report.right.path}")
    for finding in report.findings:
        yield f"  {finding.subject}"
        if finding.expected is not None:
            yield text.bad(f"- {_json(finding.expected)}")
        if finding.actual is not None:
            yield text.good(f"+ {_json(finding.actual)}")
    if not report.findings:
        yield "the same architecture, " + ("and equal weights" if report.same_weights else "other weights")
    if report.changed_layers:
        yield f"{text.count(len(report.changed_layers), 'layer')} with other weights:"
        yield from (f"  {name}" for name in report.changed_layers)
    for change in report.changes:
        yield f"  {change.group}: {change.name}  {_side(change.left)} -> {_side(change.right)}"
    causes = dict.fromkeys(finding.hint.partition("; ")[0] for finding in report.findings if finding.hint)
    yield from (f"Likely cause: {cause}" for cause in causes)


def _side(item: Any) -> str:
    """Return one side of a change; of a digest its first digits tell enough."""
    return item[7:19] if isinstance(item, str) and item.startswith("sha256:") else _json(item)


def _json(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)
