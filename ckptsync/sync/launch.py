"""launch: fix a session in the ledger, hand it to its runner.

The order makes repeating safe: the ledger has the session's id, generation and inputs before anything
is sent; the runner is asked whether it knows that very submission before it is given it, and a service
also whether it knows another one of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import fsio, heads, sets
from ..core.errors import CkptsyncError, LockedError
from ..core.layout import TrainingTree
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from ..runners.base import RemoteRunner, Runner, SessionHandle, SessionState, Submission
from .beginning import Beginning
from .discovery import discover
from .fresh import begin_lineage
from .launch_plan import LaunchOptions, LaunchPlan, bundle, input_json, passed_over, plan
from .ledgers import find_record, known_records, open_ledger
from .packing import staging, write_packs
from .quarantine import move_to_quarantine
from .reporting import Reporter
from .runners import runner_for, to_be_found
from .store import relay
from .store.live import grant_for
from .treework import head_in_file, renew_exports, sealed

if TYPE_CHECKING:
    from ..runners.bundle import Bundle

__all__ = ["LaunchOptions", "LaunchPlan", "fix", "plan", "start", "submit"]


def start(project: Project, plan: LaunchPlan, reporter: Reporter) -> SessionHandle:
    """Fix a session and start it.

    Raises:
        LockedError: another launch came first, or somebody works on the tree.
    """
    handle = submit(project, fix(project, plan, reporter), reporter, code=plan.code)
    if handle is None:
        raise CkptsyncError(f"{plan.spec.session} could not be started", hint=f"ckptsync launch {plan.spec.run}")
    return handle


def fix(project: Project, plan: LaunchPlan, reporter: Reporter) -> SessionRecord:
    """Write the session into the ledger and make the tree ready for it; nothing is started yet.

    Raises:
        LockedError: another launch came first, or somebody works on the tree.
    """
    ledger = open_ledger(project)
    run = project.run(plan.spec.run)
    with fsio.locked(project.tree(run).lock, what=f"the training tree {project.tree(run).root}"):
        with ledger.transaction():
            if plan.spec.session in {record.session for record in known_records(project, run.name)}:
                raise LockedError(
                    f"another launch of run {run.name} came first", hint=f"ckptsync wait {run.name} goes on with it"
                )
            ledger.append(
                "planned",
                run=run.name,
                session=plan.spec.session,
                spec=plan.spec.to_json(),
                runner=plan.runner,
                inputs=[input_json(name, manifest) for name, manifest in plan.inputs],
                fell_back=plan.fell_back,
            )
        _set_broken_aside(project, run, plan, reporter)
    return find_record(project, plan.spec.session)


def _set_broken_aside(project: Project, run: RunConfig, plan: LaunchPlan, reporter: Reporter) -> None:
    tree = project.tree(run)
    for beginning in plan.beginnings:
        fell_back = bool(beginning.broken) or passed_over(project, run, beginning)
        if beginning.manifest is None or not fell_back:
            continue
        # The head first, so that it never names a set that is gone
        heads.write_head(tree, heads.Head.of(beginning.manifest, _kept_best(tree, beginning)))
        for stored, findings in beginning.broken:
            folder = move_to_quarantine(project, stored, findings)
            reporter.warn(f"{stored.stem} is broken; it lies in {folder} now, with the reason")
        renew_exports(tree)
        open_ledger(project).append(
            "fallback",
            run=run.name,
            session=plan.spec.session,
            scenario=beginning.scenario,
            head=beginning.manifest.stem,
            broken=[stored.stem for stored, _ in beginning.broken],
        )


def _kept_best(tree: TrainingTree, beginning: Beginning) -> heads.Best | None:
    before = head_in_file(tree, beginning.scenario)
    good = [s.manifest.digest for s in (beginning.start, beginning.best) if s is not None and s.manifest is not None]
    return before.best if before is not None and before.best is not None and before.best.digest in good else None


def submit(
    project: Project, record: SessionRecord, reporter: Reporter, *, code: Bundle | None = None
) -> SessionHandle | None:
    """Give a planned session to its runner, or find it there when an earlier attempt got that far.

    Args:
        project: the project.
        record: the session; its ledger line is written.
        reporter: receives what happens.
        code: the bundle, where the caller has just built it.

    Returns:
        The handle, or None when it was never started and its inputs are gone: then it is closed.

    Raises:
        LockedError: another machine's session came first; the ledger has that one now.
        LimitError: the runner takes no session now.
    """
    run = project.run(record.run)
    ledger = open_ledger(project)
    runner = runner_for(project, record.runner, record.run, tell=reporter.line)
    if isinstance(runner, RemoteRunner):
        discover(project, run, record.runner, reporter)
        record = _still_ours(find_record(project, record.session))
        handle = SessionHandle.from_json(record.handle) if record.handle is not None else None
    else:
        handle = runner.find(to_be_found(record))
    if handle is None:
        if record.spec.fresh:
            begin_lineage(project, run, record, reporter)
        packs = write_packs(project, run, record)
        if packs is None:
            ledger.append(
                "closed", run=run.name, session=record.session, reason="never started, and its inputs are gone"
            )
            reporter.warn(f"{record.session} was planned and never started; its inputs are gone, so it is closed")
            return None
        handle = _start_with(runner, project, run, record, packs, code or bundle(project, run, record.spec), reporter)
    if record.handle is None:
        ledger.append("started", run=run.name, session=record.session, handle=handle.to_json())
    relay.ensure(project, record, reporter)
    fsio.remove_folder(staging(project, record.session))
    return handle


def _start_with(
    runner: Runner,
    project: Project,
    run: RunConfig,
    record: SessionRecord,
    packs: Mapping[str, Path],
    code: Bundle,
    reporter: Reporter,
) -> SessionHandle:
    submission = Submission(
        session=record.session,
        generation=record.spec.generation,
        script=code.script,
        inputs={**packs, **code.inputs, **grant_for(project, record, reporter)},
        budget_seconds=record.spec.budget_seconds,
        title=f"ckptsync {record.session}",
        previous=_holder(project, record),
    )
    try:
        handle = runner.start(submission)
    except LockedError as error:
        if not isinstance(runner, RemoteRunner):
            raise
        discover(project, run, record.runner, reporter)
        if _still_ours(find_record(project, record.session)).handle is None:  # it lost to one with another number
            open_ledger(project).append("closed", run=run.name, session=record.session, reason=error.message)
        raise
    if "address" in handle.reference:
        reporter.line(f"{record.session}: {handle.reference['address']}")
    return handle


def _still_ours(record: SessionRecord) -> SessionRecord:
    if record.discovered:
        raise LockedError(
            f"another machine has started {record.session} first, on {record.runner}",
            hint=f"'ckptsync wait {record.run}' goes on with that one",
        )
    return record


def _holder(project: Project, record: SessionRecord) -> SessionHandle | None:
    """Return the session whose own outputs hold all that this one is promised, where a runner may mount just that."""
    earlier = [r for r in known_records(project, record.run) if r.runner == record.runner and r.handle is not None]
    last = max(earlier, key=lambda r: r.order, default=None)
    if last is None or last.handle is None or last.state != SessionState.COMPLETE or not record.inputs:
        return None
    left = TrainingTree(project.layout.results(last.session) / last.spec.tree)
    holds = sealed(sets.scan(left.checkpoints))
    if any(promised["digest"] not in holds for promised in record.inputs):
        return None
    return SessionHandle.from_json(last.handle)
