"""The whole trip: launch, wait, fetch, verify, restore; or going on with a session that is on its way already."""

from __future__ import annotations

from ..core.errors import ExitCode, NothingFoundError
from ..project.config import Project, RunConfig
from ..project.lineage import unsettled
from .catch_up import catch_up, running_elsewhere
from .launch import LaunchOptions, fix, plan
from .ledgers import known_records
from .reporting import Reporter
from .store.from_store import bring_newer
from .trip import LAUNCH_SCHEMA, Manner, RoundTrip, carry_on

__all__ = ["LAUNCH_SCHEMA", "RoundTrip", "launch_new", "resume_unfinished", "run"]


def run(
    project: Project,
    run: RunConfig,
    options: LaunchOptions,
    *,
    detach: bool = False,
    when_possible: bool = False,
    reporter: Reporter,
) -> RoundTrip:
    """Launch a session and bring home what it made; or carry on with one that is not settled.

    Args:
        project: the project.
        run: the run.
        options: of a new session; they do not count for one that is carried on.
        detach: return as soon as the session has started.
        when_possible: wait where a quota or limit is only a matter of time.
        reporter: receives what happens.

    Raises:
        LockedError: a session of the run that another machine started still runs.
        LimitError: the runner takes no session now.
        CkptsyncError: as the stages say; what was reached is in the ledger, and running again goes on there.
    """
    manner = Manner(detach=detach, when_possible=when_possible)
    caught = catch_up(project, run, options.runner or run.runner, reporter=reporter)
    if caught.running is not None:
        raise running_elsewhere(caught.running, caught.status)
    if caught.home is not None:
        reporter.line(caught.home.message)
    left = unsettled(known_records(project, run.name))
    if left is not None:
        said = f"{left.session} is not settled ({left.stage}); going on with it instead of starting another"
        reporter.warn(said + (", so the options given count for nothing" if options != LaunchOptions() else ""))
        result = carry_on(project, run, left.session, manner, reporter=reporter)
        if result is not None:
            return result
    return launch_new(project, run, options, manner, reporter=reporter)


def launch_new(
    project: Project, run: RunConfig, options: LaunchOptions, manner: Manner, *, reporter: Reporter
) -> RoundTrip:
    """Plan a session and start it; every other one of the run is settled. What the store has newer comes first."""
    if not options.fresh:
        bring_newer(project, run, reporter)
    launch_plan = plan(project, run, options)
    for note in launch_plan.notes:
        reporter.warn(note)
    if launch_plan.reached:
        targets = ", ".join(f"{s.name} {s.total_timesteps:,}" for s in run.scenarios)
        return RoundTrip(
            run.name,
            int(ExitCode.OK),
            f"run {run.name} has reached its target ({targets}): raise total_timesteps in "
            f"{project.layout.config.name} to train on",
            plan=launch_plan,
        )
    for scenario, begun in launch_plan.resumes.items():
        where = f"goes on from {begun[0]} ({begun[1]:,} steps)" if begun else "begins from zero"
        reporter.line(f"{launch_plan.spec.session}: {scenario} {where}")
    fix(project, launch_plan, reporter)
    result = carry_on(project, run, launch_plan.spec.session, manner, reporter=reporter, plan=launch_plan)
    if result is None:
        raise NothingFoundError(f"{launch_plan.spec.session} is gone", hint=f"ckptsync status {run.name}")
    return result


def resume_unfinished(project: Project, run: RunConfig, *, reporter: Reporter) -> RoundTrip:
    """Go on with the session of a run that is not settled, as `ckptsync wait` does; also one of another machine.

    Raises:
        NothingFoundError: there is none.
    """
    left = unsettled(known_records(project, run.name))
    if left is not None and not left.discovered and left.stage != "planned":
        result = carry_on(project, run, left.session, Manner(), reporter=reporter)
    else:
        result = _bring_home(project, run, reporter)
    if result is None:
        raise NothingFoundError(f"run {run.name} has no session to wait for", hint=f"ckptsync launch {run.name}")
    return result


def _bring_home(project: Project, run: RunConfig, reporter: Reporter) -> RoundTrip | None:
    caught = catch_up(project, run, run.runner, reporter=reporter)
    if caught.running is not None:
        result = carry_on(project, run, caught.running.session, Manner(), reporter=reporter)
        if result is None or result.exit_code == ExitCode.INTERRUPTED:
            return result
        catch_up(project, run, run.runner, reporter=reporter)  # those before it give way, or are needed
        return result
    left = unsettled(known_records(project, run.name))
    return carry_on(project, run, left.session, Manner(), reporter=reporter) if left is not None else caught.home
