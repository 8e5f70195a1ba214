"""verify, ls, show, diff: what looks at files and changes none."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..core.errors import UsageError
from ..project.config import RunConfig
from ..project.lineage import SessionRecord
from ..sync import inspect
from ..sync.verify import verify_path, verify_session
from . import checkpoint_text, targets
from .output import Answer, Output
from .progress import Reporter


def verify(arguments: Namespace, output: Output) -> Answer:
    """Judge a path, a run's training tree or what a session left."""
    project = targets.project_or_none(arguments)
    target = targets.resolve(arguments.target, project)
    against = Path(arguments.against) if arguments.against is not None else None
    reporter = Reporter(output)
    if isinstance(target, SessionRecord) and project is not None:
        if against is not None or arguments.newest:
            raise UsageError("--against and --newest work with paths and runs", hint="name the folder of the results")
        report = verify_session(project, target.session, reporter)
    else:
        run = target if isinstance(target, RunConfig) else None
        path = project.tree(run).root if project is not None and run is not None else target
        report = verify_path(
            path, against=against, project=project, run=run, only_newest=arguments.newest, reporter=reporter
        )
    return Answer(report.to_json(), lambda: checkpoint_text.verified(report), report.exit_code)


def ls(arguments: Namespace, output: Output) -> Answer:
    """List the checkpoints of a run or a folder."""
    project = targets.project_or_none(arguments)
    target = targets.resolve(arguments.target, project)
    if isinstance(target, RunConfig) and project is not None:
        report = inspect.list_tree(project, target, Reporter(output))
    elif isinstance(target, Path):
        report = inspect.list_path(target)
    else:
        raise UsageError("ls lists runs and folders", hint=f"ckptsync verify {arguments.target}")
    return Answer(report.to_json(), lambda: checkpoint_text.listed(report), report.exit_code)


def show(arguments: Namespace, output: Output) -> Answer:
    """Tell everything about one checkpoint."""
    against = Path(arguments.against) if arguments.against is not None else None
    report = inspect.show_path(Path(arguments.target), targets.project_or_none(arguments), against)
    return Answer(
        report.to_json(), lambda: checkpoint_text.shown(report, every_parameter=arguments.all), report.exit_code
    )


def diff(arguments: Namespace, output: Output) -> Answer:
    """Tell how two checkpoints differ."""
    report = inspect.diff_paths(Path(arguments.left), Path(arguments.right))
    return Answer(report.to_json(), lambda: checkpoint_text.differences(report), report.exit_code)
