"""restore: what changes the training tree."""

from __future__ import annotations

from argparse import Namespace

from ..core.errors import UsageError
from ..sync import restore as restoring
from . import session_text, targets
from .output import Answer, Output
from .progress import Reporter


def restore(arguments: Namespace, output: Output) -> Answer:
    """Put a session's good checkpoints into the training tree, or take that back."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    reporter = Reporter(output)
    if arguments.undo:
        if arguments.session is not None:
            raise UsageError("--undo takes the last restore back, whatever its session", hint="leave --session out")
        receipt = restoring.undo(project, run, reporter, dry_run=arguments.dry_run)
        return Answer(receipt.to_json(), lambda: session_text.restored(receipt, dry_run=arguments.dry_run))
    plan = restoring.plan_restore(project, run, arguments.session)
    if arguments.dry_run:
        return Answer(plan.to_json(), lambda: session_text.restore_planned(plan), plan.exit_code)
    receipt = restoring.apply(project, plan, reporter)
    return Answer(receipt.to_json(), lambda: session_text.restored(receipt), receipt.exit_code)
