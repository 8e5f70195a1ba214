"""export: a checkpoint's files under plain names."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UsageError
from ..core.layout import TrainingTree
from ..core.units import size_text
from . import targets, text
from .output import Answer, Output
from .targets import RunTarget, SessionTarget
from .text import Line


def export(arguments: Namespace, output: Output) -> Answer:
    """Write a checkpoint's files for tools and people without ckptsync."""
    from ..sync.export import export as write

    if arguments.replay is not None and arguments.output is not None:
        raise UsageError("--replay names the one file to write, so --output has no use", hint="leave one of them out")
    target = targets.resolve(arguments.target, targets.project_or_none(arguments))
    report = write(
        _source(target),
        output=Path(arguments.output or "exports"),
        replay=Path(arguments.replay) if arguments.replay is not None else None,
        scenario=arguments.scenario,
        force=arguments.force,
        dry_run=arguments.dry_run,
    )

    def lines() -> Iterator[Line]:
        verb = "would write" if report.dry_run else "wrote"
        for file in report.files:
            size = "" if file.size_bytes is None else f"  {size_text(file.size_bytes)}"
            yield [f"{verb} ", text.good(str(file.target)), size]

    return Answer(report.to_json, lines)


def _source(target: Path | RunTarget | SessionTarget) -> TrainingTree | Path:
    if isinstance(target, RunTarget):
        return target.project.tree(target.run)
    return target.project.layout.results(target.record.session) if isinstance(target, SessionTarget) else target
