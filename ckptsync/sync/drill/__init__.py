"""drill: the whole trip on a throw-away lineage: a session, a stop in its middle, the way home, one more session.

Nothing of the project's tree, ledger and results is read or changed. The verbs are the ones of the real trip,
on another project.
"""

from __future__ import annotations

import time

from ...core import names
from ...core.errors import CkptsyncError, NothingFoundError
from ...core.findings import Severity
from ...project.config import Project, RunConfig
from ...runners.base import LiveRunner, SessionHandle, SessionStatus
from .. import control, launch, restore
from ..fetch import fetch
from ..following import Follower
from ..launch import LaunchOptions
from ..ledgers import find_record
from ..outputs import judge_outputs
from ..reporting import NullReporter, Reporter
from ..runners import runner_for
from ..wait import wait
from .faults import Fault, of_first, of_second
from .figures import Measured, TripSeconds, measure, project_run
from .observed import Observed, Stop, observe
from .place import Terms, throw_away
from .report import DrillReport

__all__ = ["DrillReport", "Terms", "drill", "rehearse"]

# The first session may train so many times the drill's steps, so that there is a middle to stop it in
_FIRST_STEPS = 4
_LOOK_SECONDS = 0.05
_ORDER = list(Severity)


def rehearse(project: Project, run: RunConfig, terms: Terms) -> DrillReport:
    """Say what a drill would do; starts nothing.

    Raises:
        UsageError: there is no such runner, or the sessions would have no time.
    """
    runner, seconds = terms.runner or run.runner, terms.budget_seconds(run)
    runner_for(project, runner)
    return DrillReport(run.name, runner, None, None, Measured(), None, (), None, terms.steps, seconds)


def drill(project: Project, run: RunConfig, terms: Terms, *, reporter: Reporter) -> DrillReport:
    """Do a drill.

    Raises:
        LockedError: another drill runs in this project.
        UsageError: there is no such runner, or the sessions would have no time.
        CkptsyncError: the kernel cannot be bundled, or the runner cannot be reached; what the script does wrong
            is a fault in the report.
    """
    with throw_away(project, run, terms) as (place, drilled):
        work = _Drill(place, drilled, terms, reporter)
        work.run_through()
    measured = measure(work.first, work.second, work.trip) if work.first is not None else Measured()
    faults = sorted(work.faults, key=lambda fault: _ORDER.index(fault.severity))
    return DrillReport(
        run=run.name,
        runner=drilled.runner,
        first=work.first,
        second=work.second,
        measured=measured,
        projected=project_run(run, measured) if measured.saves else None,
        faults=tuple(faults),
        folder=place.root if terms.keep else None,
        steps=terms.steps,
        limit_seconds=terms.budget_seconds(run),
    )


class _Drill:
    def __init__(self, place: Project, run: RunConfig, terms: Terms, reporter: Reporter) -> None:
        self._place = place
        self._run = run
        self._terms = terms
        self._reporter = reporter
        self.first: Observed | None = None
        self.second: Observed | None = None
        self.trip: TripSeconds | None = None
        self.faults: list[Fault] = []
        self._fetch_seconds = 0.0

    def run_through(self) -> None:
        """Go through the trip as far as it leads."""
        live = isinstance(runner_for(self._place, self._run.runner), LiveRunner)
        self._reporter.line("first session: from zero" + (", to be stopped in the middle" if live else ""))
        self.first = self._session(_FIRST_STEPS if live else 1, interrupt=live)
        if self.first is None:
            return
        self.faults += of_first(self.first, self._run.margin_seconds)
        if any(fault.severity is Severity.BLOCKER for fault in self.faults) or not self._bring_home(self.first):
            return
        self._reporter.line("second session: goes on from what came home")
        self.second = self._session(1, interrupt=False)
        if self.second is not None:
            self.faults += of_second(self.second)

    def _session(self, times: int, *, interrupt: bool) -> Observed | None:
        place, quiet = self._place, NullReporter()
        plan = launch.plan(place, self._run, LaunchOptions(steps=self._terms.steps * times))
        handle = launch.start(place, plan, quiet)
        session = plan.spec.session
        runner = runner_for(place, self._run.runner)
        asked = self._interrupt(runner, handle) if interrupt and isinstance(runner, LiveRunner) else None
        status = wait(place, session, reporter=quiet, follow_log=False)
        stop = Stop(time.monotonic() - asked[0], asked[1]) if asked is not None else None
        begun = time.monotonic()
        try:
            fetch(place, session, quiet)
        except NothingFoundError:
            pass  # it left no file: what is missing is found below
        except CkptsyncError as error:
            self._refused(error, f"fetching what {session} left")
            return None
        self._fetch_seconds = time.monotonic() - begun
        log = b"".join(Follower(runner, handle).rest())
        seen = observe(place, find_record(place, session), status, stop, log)
        self._tell(seen, status)
        return seen

    def _interrupt(self, runner: LiveRunner, handle: SessionHandle) -> tuple[float, int] | None:
        """Ask the session to stop as soon as it has saved; return when, and how many saves there were."""
        while not runner.status(handle).state.finished:
            saves = sum(event["event"] == "save" for event in control.session_events(runner, handle))
            if saves or self._plain_save(runner, handle):
                asked_at = time.monotonic()
                try:
                    control.cancel(self._place, handle.session)
                except NothingFoundError:
                    return None  # it has ended in the meantime
                return asked_at, saves
            time.sleep(_LOOK_SECONDS)
        return None

    def _plain_save(self, runner: LiveRunner, handle: SessionHandle) -> bool:
        """Whether a script without TrainingSession has saved."""
        if any(event["event"] == "start" for event in control.session_events(runner, handle)):
            return False
        folder = self._run.tree + "/checkpoints/"
        files = [file.path.removeprefix(folder) for file in runner.outputs(handle) if file.path.startswith(folder)]
        return any(
            name.endswith(names.MODEL_SUFFIX) and names.parse_stem(name[: -len(names.MODEL_SUFFIX)]) for name in files
        )

    def _tell(self, seen: Observed, status: SessionStatus) -> None:
        steps = ", ".join(f"{scenario} at {reached:,} steps" for scenario, reached in seen.reached.items())
        self._reporter.line(f"  ended ({status.state}): {steps or 'no step is known'}; {len(seen.saves)} save(s)")

    def _bring_home(self, seen: Observed) -> bool:
        """Restore what the first session left; return whether there is something to go on from."""
        place, session = self._place, seen.spec.session
        begun = time.monotonic()
        try:
            outputs = judge_outputs(place, self._run, find_record(place, session))
            verified = time.monotonic()
            plan = restore.plan_restore(place, self._run, session, outputs=outputs)
            restore.apply(place, plan, NullReporter())
        except CkptsyncError as error:
            self._refused(error, f"bringing {session} home")
            return False
        ended = time.monotonic()
        self.trip = TripSeconds(self._fetch_seconds, verified - begun, ended - verified)
        self._reporter.line(f"the way home: verified and restored in {ended - begun:.2f} s")
        for part in plan.scenarios.values():
            for stored, findings in part.refused:
                text = f"{stored.stem} was refused: {findings[0]}"
                self.faults.append(Fault("trip.refused", Severity.BLOCKER, text, findings[0].hint))
        if not plan.moves and not any(fault.severity is Severity.BLOCKER for fault in self.faults):
            text = f"nothing of {session} came into the training tree"
            self.faults.append(
                Fault("trip.refused", Severity.BLOCKER, text, "run the drill with --keep and look at it")
            )
        return plan.moves

    def _refused(self, error: CkptsyncError, doing: str) -> None:
        self.faults.append(Fault("trip.refused", Severity.BLOCKER, f"{doing}: {error.message}", error.hint or ""))
