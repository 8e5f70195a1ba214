"""export: a checkpoint's files under plain names."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import UsageError
from ..core.layout import TrainingTree
from ..core.units import size_text
from . import targets, text
from .output import Answer, Output
from .progress import Reporter
from .targets import RunTarget, SessionTarget
from .text import Line


def export(arguments: Namespace, output: Output) -> Answer:
    """Write a checkpoint's files for tools and people without ckptsync."""
    from ..sync.export import export as write

    if arguments.replay is not None and arguments.output is not None:
        raise UsageError("--replay names the one file to write, so --output has no use", hint="leave one of them out")
    with _source(arguments, output) as source:
        report = write(
            source,
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


@contextmanager
def _source(arguments: Namespace, output: Output) -> Iterator[TrainingTree | Path]:
    """Provide what is exported until the end of the block; with `--store` a copy of a version."""
    if arguments.store:
        from ..sync.store.stored_copy import stored_copies

        project = targets.project_of(arguments)
        run, words = project.run(arguments.run), [arguments.target or "head"]
        with stored_copies(project, run, words, Reporter(output), scenario=arguments.scenario) as (copy,):
            yield copy
        return
    target = targets.resolve(arguments.target, targets.project_or_none(arguments))
    if isinstance(target, RunTarget):
        yield target.project.tree(target.run)
    else:
        yield target.project.layout.results(target.record.session) if isinstance(target, SessionTarget) else target
