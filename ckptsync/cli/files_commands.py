"""verify, ls, show, diff: what looks at files and changes none. Each imports its verb when it is called."""

from __future__ import annotations

from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import NothingFoundError, UsageError
from ..sync.reporting import shown_path
from . import checkpoint_text, targets
from .output import Answer, Output
from .progress import Reporter
from .targets import RunTarget, SessionTarget

if TYPE_CHECKING:
    from ..sync.report import CheckpointReport


def verify(arguments: Namespace, output: Output) -> Answer:
    """Judge a path, a run's training tree or what a session left."""
    from ..sync import verify as judging

    project = targets.project_or_none(arguments)
    target = targets.resolve(arguments.target, project)
    against = _path_or_none(arguments.against)
    reporter = Reporter(output)
    if isinstance(target, SessionTarget):
        if against is not None or arguments.newest:
            folder = target.project.layout.results(target.record.session)
            raise UsageError("--against and --newest work with paths and runs", hint=f"name the folder: {folder}")
        report = judging.verify_session(target.project, target.record.session, reporter)
    else:
        run = target.run if isinstance(target, RunTarget) else None
        path = _tree_of(target) if isinstance(target, RunTarget) else target
        report = judging.verify_path(
            path, against=against, project=project, run=run, only_newest=arguments.newest, reporter=reporter
        )
    return Answer(report.to_json, lambda: checkpoint_text.verified(report), report.exit_code)


def ls(arguments: Namespace, output: Output) -> Answer:
    """List the checkpoints of a run, of a session's outputs or of a folder."""
    from ..sync import inspect

    if arguments.store:
        from .store_commands import list_versions

        return list_versions(arguments, output)
    target = targets.resolve(arguments.target, targets.project_or_none(arguments))
    if isinstance(target, RunTarget):
        _tree_of(target)
        report = inspect.list_tree(target.project, target.run, Reporter(output))
    elif isinstance(target, SessionTarget):
        report = inspect.list_path(shown_path(target.project.layout.results(target.record.session)))
    else:
        report = inspect.list_path(target)
    return Answer(report.to_json, lambda: checkpoint_text.listed(report), report.exit_code)


def show(arguments: Namespace, output: Output) -> Answer:
    """Tell everything about one checkpoint."""
    from ..sync import inspect

    project = targets.project_or_none(arguments)
    with _files_of(arguments, [arguments.target], output) as (path,):
        report = inspect.show_path(path, project, _path_or_none(arguments.against))
    if arguments.store:
        named = tuple(_in_store(checkpoint) for checkpoint in report.checkpoints)
        report = replace(report, target=arguments.target, checkpoints=named)
    return Answer(
        report.to_json, lambda: checkpoint_text.shown(report, every_parameter=arguments.all), report.exit_code
    )


def diff(arguments: Namespace, output: Output) -> Answer:
    """Tell how two checkpoints differ."""
    from ..sync import inspect

    with _files_of(arguments, [arguments.left, arguments.right], output) as (left, right):
        report = inspect.diff_paths(left, right)
    if arguments.store:
        report = replace(report, left=_in_store(report.left), right=_in_store(report.right))
    return Answer(report.to_json, lambda: checkpoint_text.differences(report), report.exit_code)


def _files_of(arguments: Namespace, words: list[str], output: Output) -> AbstractContextManager[list[Path]]:
    """Provide the files that words name: paths, or with `--store` versions of the run's store."""
    if not arguments.store:
        return nullcontext([Path(word) for word in words])
    from ..sync.store.stored_copy import stored_copies

    project = targets.project_of(arguments)
    return stored_copies(project, project.run(arguments.run), words, Reporter(output), scenario=arguments.scenario)


def _in_store(checkpoint: CheckpointReport) -> CheckpointReport:
    """Name what lies in the store so, and not the copy that was looked at: that is gone."""
    from ..project.tiers import NEAR

    folder = checkpoint.path.parent

    def named(path: Path) -> Path:
        return Path(NEAR, path.relative_to(folder))

    files = tuple(replace(file, path=named(file.path)) for file in checkpoint.files)
    return replace(checkpoint, path=named(checkpoint.path), files=files)


def _tree_of(target: RunTarget) -> Path:
    root = shown_path(target.project.tree(target.run).root)
    if not root.exists():
        hint = f"this is normal before the first session: ckptsync launch {target.run.name} --quick"
        raise NothingFoundError(f"No checkpoints found in {root}", hint=hint)
    return root


def _path_or_none(word: str | None) -> Path | None:
    return None if word is None else Path(word)
