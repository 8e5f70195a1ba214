"""A session on its way: submit, wait, fetch, verify, restore. Each stage takes what the one before gave.

A session that a crashed or interrupted command left at any stage is carried on from there; the ledger
says where that is. No stage holds the project's lock while it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import ExitCode, LockedError, NothingFoundError
from ..core.findings import Verdict
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from ..runners.base import SessionState, SessionStatus
from .availability import on_any_machine, when_possible
from .fetch import fetch
from .fresh import begin_lineage
from .launch import LaunchPlan, submit
from .ledgers import find_record, known_records, open_ledger
from .outcome import Ending, next_command, outcome
from .outputs import Outputs, judge_outputs
from .receipts import RestoreReceipt
from .reporting import Reporter
from .restore import apply, keep_verdicts
from .restore_plan import plan_restore
from .store import relay
from .store.tiers import TierState, not_sent, send_copies
from .treework import head_in_file
from .wait import wait

if TYPE_CHECKING:
    from ..runners.bundle import Bundle

LAUNCH_SCHEMA = "ckptsync.launch/1"
_STEPS_LEFT = 8  # no session has more stages than this
# stage -> how a session is left by Ctrl-C
_LEFT_AT = {
    "planned": "it is planned, and has perhaps not started yet",
    "started": "it runs on by itself",
    "finished": "it has ended, and what it made is not all fetched yet",
    "fetched": "what it made is fetched, and not verified yet",
    "verified": "what it made is verified, and not restored yet",
    "restoring": "what it made is restored in part",
    "restored": "what it made is restored",
    "closed": "it left nothing to restore",
}


@dataclass(frozen=True)
class RoundTrip:
    """How a trip ended.

    Args:
        run: the run.
        exit_code: of the command.
        message: one sentence for people; after a refusal, what was refused in the lines behind it.
        session: the session; None when none was needed.
        status: what the runner said at the end, or None.
        verdict: of the session's outputs, or None.
        receipt: of the restore, or None.
        plan: what was launched; None when an earlier session was carried on.
        next_command: what to type next.
        ending: in which way the session ended; None when it has not.
        copies: what became of the copies in the project's stores.
    """

    run: str
    exit_code: int
    message: str
    session: str | None = None
    status: SessionStatus | None = None
    verdict: Verdict | None = None
    receipt: RestoreReceipt | None = None
    plan: LaunchPlan | None = None
    next_command: str = ""
    ending: Ending | None = None
    copies: tuple[TierState, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        status = self.status
        return {
            "schema": LAUNCH_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "session": self.session,
            "message": self.message,
            "state": status.state.value if status is not None else None,
            "verdict": self.verdict,
            "receipt": self.receipt.to_json() if self.receipt is not None else None,
            "copies": [state.to_json() for state in self.copies],
            "next_command": self.next_command,
        }


@dataclass(frozen=True)
class Manner:
    """How a session is carried on.

    Args:
        detach: leave as soon as it has started.
        when_possible: wait where a quota or limit is only a matter of time.
    """

    detach: bool = False
    when_possible: bool = False


@dataclass
class _Trip:
    """What is known of a session on its way home."""

    project: Project
    run: RunConfig
    session: str
    reporter: Reporter
    manner: Manner
    code: Bundle | None = None
    status: SessionStatus | None = None
    outputs: Outputs | None = None
    receipt: RestoreReceipt | None = None
    copies: tuple[TierState, ...] = ()

    @property
    def record(self) -> SessionRecord:
        """The session as the ledger has it now."""
        return find_record(self.project, self.session)

    def submit(self, record: SessionRecord) -> None:
        def start() -> None:
            on_any_machine(
                self.project,
                record.runner,
                record.run,
                lambda project: submit(project, record, self.reporter, code=self.code),
                self.reporter,
            )

        if self.manner.when_possible:
            when_possible(start, self.reporter)
        else:
            start()

    def wait(self, record: SessionRecord) -> None:
        relay.ensure(self.project, record, self.reporter)  # one that was killed is missed by nobody else
        self.status = wait(self.project, self.session, reporter=self.reporter)

    def fetch(self, record: SessionRecord) -> None:
        try:
            fetch(self.project, self.session, self.reporter)
        except NothingFoundError as error:
            self.close(error.message)

    def verify(self, record: SessionRecord) -> None:
        self.outputs = judge_outputs(self.project, self.run, record)
        for plain in self.outputs.unsealed:
            self.reporter.warn(
                f"{plain.model_path} has no seal, so it is not restored; 'ckptsync adopt' takes such files"
            )
        verdict = self.outputs.verdict
        if verdict is None:
            self.close("it left no sealed checkpoint")
            return
        ledger = open_ledger(self.project)
        ledger.append("verified", run=self.run.name, session=self.session, verdict=verdict.value)
        count = sum(len(candidates) for candidates in self.outputs.scenarios.values())
        self.reporter.line(f"[CHECKPOINT] verified {count} checkpoint(s): {verdict.value}")

    def restore(self, record: SessionRecord) -> None:
        self._begin_lineage_of(record)
        begun = record.stage == "restoring"  # the first attempt was allowed to; its plan is in the ledger
        restore_plan = plan_restore(
            self.project, self.run, self.session, explicit=begun, outputs=None if begun else self.outputs
        )
        try:
            self.receipt = apply(self.project, restore_plan, self.reporter)
            keep_verdicts(self.project, restore_plan)
        except LockedError as error:
            if any(part.behind for part in restore_plan.scenarios.values()):
                self.close(error.message)  # a branch: it stays in results, and does not stop the next launch
            raise

    def send_copies(self) -> None:
        """Send what came home to the stores; what an earlier trip could not send goes with it."""
        if self.receipt is not None:
            self.copies = send_copies(self.project, self.run, self.reporter)

    def _begin_lineage_of(self, record: SessionRecord) -> None:
        """Do what a launch with --fresh does before it starts, where another machine has launched."""
        if not record.discovered:
            return
        lineage = record.spec.lineage
        known = known_records(self.project, self.run.name)
        begun = next((r for r in known if r.discovered and r.spec.fresh and r.spec.lineage == lineage), None)
        tree = self.project.tree(self.run)
        before = [head for name in self.run.scenario_names if (head := head_in_file(tree, name)) is not None]
        if begun is None or not before or any(head.lineage >= lineage for head in before):
            return
        self.outputs = self.outputs or judge_outputs(self.project, self.run, record)
        if any(not candidate.blocking for found in self.outputs.scenarios.values() for candidate in found):
            self.reporter.warn(f"{begun.session} has begun from zero elsewhere; the sets before go to the attic")
            begin_lineage(self.project, self.run, begun, self.reporter)

    def close(self, reason: str) -> None:
        open_ledger(self.project).append("closed", run=self.run.name, session=self.session, reason=reason)


_STAGES: Mapping[str, Callable[[_Trip, SessionRecord], None]] = {
    "planned": _Trip.submit,
    "started": _Trip.wait,
    "finished": _Trip.fetch,
    "fetched": _Trip.verify,
    "verified": _Trip.restore,
    "restoring": _Trip.restore,
}


def carry_on(
    project: Project,
    run: RunConfig,
    session: str,
    manner: Manner,
    *,
    reporter: Reporter,
    plan: LaunchPlan | None = None,
) -> RoundTrip | None:
    """Take a session from where it is to its end; None when it was never started and is closed now."""
    trip = _Trip(project, run, session, reporter, manner, plan.code if plan is not None else None)
    never_started = trip.record.stage == "planned"
    come_back = f"ckptsync wait {run.name}"
    try:
        for _ in range(_STEPS_LEFT):
            record = trip.record
            if record.settled:
                break
            if manner.detach and record.stage == "started":
                open_ledger(project).append("detached", run=run.name, session=session)
                message = f"{session} runs on {record.runner}; '{come_back}' brings home what it makes"
                return RoundTrip(run.name, int(ExitCode.OK), message, session, plan=plan, next_command=come_back)
            _STAGES[record.stage](trip, record)
        trip.send_copies()
    except KeyboardInterrupt:
        open_ledger(project).append("detached", run=run.name, session=session)
        left = trip.record
        if left.settled:
            come_back = f"ckptsync launch {run.name}"
        message = f"left {session}: {_LEFT_AT[left.stage]}; '{come_back}' goes on from here"
        code = int(ExitCode.INTERRUPTED)
        return RoundTrip(run.name, code, message, session, trip.status, plan=plan, next_command=come_back)
    record = trip.record
    if never_started and record.handle is None:
        return None
    return _ended(trip, record, plan)


def _ended(trip: _Trip, record: SessionRecord, plan: LaunchPlan | None) -> RoundTrip:
    receipt = trip.receipt
    if receipt is None and record.receipt is not None and record.stage == "restored":
        receipt = RestoreReceipt.from_json(record.receipt)
    ended = outcome(record, receipt)
    exit_code, message = ended.exit_code, ended.message
    if exit_code == ExitCode.OK and (error := not_sent(trip.copies)) is not None:
        exit_code, message = ExitCode.PARTIAL, f"{message}; the store has not got it: {error}"
    return RoundTrip(
        run=trip.run.name,
        exit_code=int(exit_code),
        message=message,
        session=record.session,
        status=trip.status or SessionStatus(SessionState(record.state or "unknown"), record.message),
        verdict=Verdict(record.verdict) if record.verdict is not None else None,
        receipt=receipt,
        plan=plan,
        next_command=next_command(trip.run, record, receipt),
        ending=ended.ending,
        copies=trip.copies,
    )
