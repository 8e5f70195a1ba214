"""status: every run's scenarios, sessions and the command that makes sense next. Reads only, asks no runner twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core import heads, sets
from ..core.errors import CkptsyncError
from ..core.layout import TrainingTree
from ..core.session import ScenarioSpec
from ..core.sets import StoredSet
from ..project.config import Project, RunConfig
from ..project.lineage import ScenarioRecord, SessionRecord, unsettled
from ..runners.base import Allowance, SessionHandle
from .availability import hours_left
from .ledgers import known_records
from .runners import runner_for
from .store.from_store import missing
from .store.tier_states import TierState, known_states
from .store.tiers import ask_near

STATUS_SCHEMA = "ckptsync.status/1"
# How far the way home of a session is that another machine has started, where it is not as with ours
_ELSEWHERE = {"started": "elsewhere", "closed": "superseded"}


@dataclass(frozen=True)
class ScenarioStatus:
    """Where a scenario stands.

    Args:
        name: the scenario.
        num_timesteps: of its head, or of the newest sealed set where the head is damaged; 0 without any.
        target: its total_timesteps.
        head: stem of the head's set, or None.
        damaged: there are sealed sets or a head file, and no head that is sound and whose set is there.
    """

    name: str
    num_timesteps: int
    target: int
    head: str | None
    damaged: bool = False


@dataclass(frozen=True)
class SessionRow:
    """One line of the table of sessions, for one scenario; a session that did nothing yet has one without.

    Args:
        session: its id.
        scenario: whose line this is, or None.
        started_at: num_timesteps at its beginning.
        ended_at: num_timesteps at its end.
        checkpoints: how many sets it sealed.
        seconds: wall clock of the whole session.
        fidelity: how it was resumed: exact, state, weights, or None from zero.
        state: what the runner said, or how far the trip is.
        cause: why it ended, by its own account.
    """

    session: str
    scenario: str | None
    started_at: int | None
    ended_at: int | None
    checkpoints: int
    seconds: float | None
    fidelity: str | None
    state: str
    cause: str | None


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Args:
        run: its name.
        runner: where its sessions execute.
        tree: its training tree.
        scenarios: each with its head.
        sessions: the table.
        running: the session that is not settled, or None.
        stage: how far that one is.
        state: what its runner says of it now.
        next_command: what to type next.
        allowances: hours that its runner's service still gives, where that was asked.
        not_known: why they are not known, or None.
        copies: what was last seen of the stores; an empty tree lets the near one be asked.
    """

    run: str
    runner: str
    tree: str
    scenarios: tuple[ScenarioStatus, ...]
    sessions: tuple[SessionRow, ...]
    running: str | None
    stage: str | None
    state: str | None
    next_command: str
    allowances: tuple[Allowance, ...] = ()
    not_known: str | None = None
    copies: tuple[TierState, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the run as it stands in the JSON output."""
        return {
            **asdict(replace(self, copies=())),
            "copies": [state.to_json() for state in self.copies],
            "scenarios": [asdict(scenario) for scenario in self.scenarios],
            "sessions": [asdict(row) for row in self.sessions],
            "allowances": [{**asdict(each), "left_seconds": each.left_seconds} for each in self.allowances],
        }


@dataclass(frozen=True)
class Overview:
    """Where a project stands."""

    root: str
    runs: tuple[RunStatus, ...]

    @property
    def next_command(self) -> str:
        """What to type next: for a session under way before anything else."""
        under_way = [status for status in self.runs if status.running is not None]
        return (under_way or list(self.runs))[0].next_command

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": STATUS_SCHEMA,
            "exit_code": 0,
            "root": self.root,
            "runs": [status.to_json() for status in self.runs],
            "next_command": self.next_command,
        }


def overview(project: Project, run: RunConfig | None = None, *, hours: bool = False) -> Overview:
    """Say where a run stands, or all runs.

    Args:
        project: the project.
        run: the run; None: all.
        hours: ask the service of the run's runner what it still gives.
    """
    runs = [run] if run is not None else list(project.runs.values())
    found = tuple(_run_status(project, each) for each in runs)
    if hours and run is not None:
        allowances, not_known = hours_left(project, run)
        found = (replace(found[0], allowances=allowances, not_known=not_known),)
    return Overview(str(project.root), found)


def head_steps(project: Project, run: RunConfig) -> dict[str, int]:
    """Return N of every scenario's head; 0 without one."""
    tree = project.tree(run)
    stored = sets.scan(tree.checkpoints)
    return {spec.name: _scenario_status(tree, stored, spec).num_timesteps for spec in run.scenarios}


def session_rows(record: SessionRecord) -> list[SessionRow]:
    """Return the table's lines of one session."""
    scenarios: list[tuple[str | None, ScenarioRecord]] = [*record.scenarios.items()]
    state = record.state or record.stage
    if record.discovered and state in _ELSEWHERE:
        state = _ELSEWHERE[state]
    if record.undone:
        state += ", undone"
    return [
        SessionRow(
            session=record.session,
            scenario=name,
            started_at=done.started_at,
            ended_at=done.ended_at,
            checkpoints=done.checkpoints,
            seconds=record.seconds,
            fidelity=done.resumed,
            state=state,
            cause=done.cause or record.cause,
        )
        for name, done in scenarios or [(None, ScenarioRecord())]
    ]


def _run_status(project: Project, run: RunConfig) -> RunStatus:
    found = known_records(project, run.name)
    tree = project.tree(run)
    stored = sets.scan(tree.checkpoints)
    scenarios = [_scenario_status(tree, stored, spec) for spec in run.scenarios]
    left = unsettled(found)
    copies = _copies(project, run)
    return RunStatus(
        run=run.name,
        runner=run.runner,
        tree=run.tree,
        scenarios=tuple(scenarios),
        sessions=tuple(row for record in found for row in session_rows(record)),
        running=left.session if left is not None else None,
        stage=left.stage if left is not None else None,
        state=_state_now(project, left) if left is not None else None,
        next_command=_next_command(run, scenarios, left, any(state.heads for state in copies)),
        copies=copies,
    )


def _copies(project: Project, run: RunConfig) -> tuple[TierState, ...]:
    states = known_states(project, run)
    if states and states[0].reached_at is None and missing(project, run):
        return (ask_near(project, run), *states[1:])
    return states


def _scenario_status(tree: TrainingTree, stored: list[StoredSet], spec: ScenarioSpec) -> ScenarioStatus:
    place = heads.standing(tree, stored, spec.name)
    newest = next((s.manifest for s in place.candidates if s.manifest is not None), None)
    without_set = any(finding.code == "head.damaged" for finding in place.findings)
    return ScenarioStatus(
        spec.name,
        newest.num_timesteps if newest is not None else 0,
        spec.total_timesteps,
        place.head.stem if place.head is not None else None,
        damaged=place.head is None and (newest is not None or without_set),
    )


def _state_now(project: Project, record: SessionRecord) -> str | None:
    if record.state is not None or record.handle is None:
        return record.state
    try:
        status = runner_for(project, record.runner, record.run).status(SessionHandle.from_json(record.handle))
    except CkptsyncError as error:
        return f"unknown: {error.message}"
    return status.state.value


def _next_command(run: RunConfig, scenarios: list[ScenarioStatus], left: SessionRecord | None, stored: bool) -> str:
    if left is not None:
        return f"ckptsync wait {run.name}"
    if any(scenario.damaged for scenario in scenarios):
        return f"ckptsync verify {run.name}"
    if all(scenario.num_timesteps >= scenario.target for scenario in scenarios):
        return f"ckptsync ls {run.name}"
    return f"ckptsync launch {run.name}" + ("" if stored or any(s.head for s in scenarios) else " --quick")
