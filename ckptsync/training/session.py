"""TrainingSession: what a kernel script opens around its training."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn

from ..core import fsio, heads, sets
from ..core.errors import CkptsyncError, ExitCode, UsageError
from ..core.layout import (
    DEFAULT_TREE,
    EVENTS_NAME,
    LOG_NAME,
    METRICS_NAME,
    SAVE_REQUEST_NAME,
    SESSION_INFO_NAME,
    TrainingTree,
)
from ..core.manifest import Origin
from ..core.names import check_scenario
from ..core.session import (
    BOOT_VARIABLE,
    EventLog,
    SavePolicy,
    ScenarioSpec,
    read_events,
    read_spec_from_environment,
    write_session_info,
)
from ..core.summary import summarise, trained_seconds
from .course import Surroundings
from .disk import Disk
from .host import current_host
from .leaving import exit_code_of, first_line, leave_with
from .log import kept_in, log
from .outbox import SENDING_AFTER_SIGNAL, SENDING_SECONDS, Outbox, open_outbox
from .plan import Plan
from .progress import SessionProgress
from .resume import Resume
from .scenario import Outcome, Scenario
from .screen import Limits
from .stop import REQUEST_NAME, StopWatch, session_started
from .versions import current_versions
from .writer import Chain


class TrainingSession:
    """One session of training: resumes, saves, and stops in time. Use it as a context manager.

    The constructor is for plain local training; `from_environment` also serves sessions that a runner
    started. Inside the `with`, the tree's lock is held and SIGTERM and SIGINT are watched; leaving it
    after such a signal ends the process with 143 or 130.

    Args:
        tree: the training tree's folder.
        scenario: name of the one scenario.
        total_timesteps: its target, summed over all sessions.
        every_steps: a save at the first clean point at or after each multiple; None: not by steps.
        every_seconds: a save when this long has passed since the last; "auto": as long as the measured cost of a
            save and `failure_seconds` make best; None: not by time.
        keep_last: how many of the newest sets are kept, besides the best, milestones and the final ones.
        save_best: also save when the mean reward is the best so far.
        keep_best: how many of the sets with the highest mean reward are kept.
        keep_every_steps: a save at the first clean point at or after each multiple, kept for ever; None: none such.
        failure_seconds: for "auto": the expected time between two ends that come without warning.
        max_overhead: for "auto": the largest share of the time that saves may hold training up.
        max_output_bytes: how much the current folder may hold; None: what the disk holds.
        budget_seconds: the wall clock after which the session must have ended; None: unlimited.
        seed: for environments and models; None: not seeded.
    """

    def __init__(
        self,
        tree: Path | str,
        scenario: str,
        total_timesteps: int,
        *,
        every_steps: int | None = 10_000,
        every_seconds: float | Literal["auto"] | None = 180.0,
        keep_last: int = 5,
        save_best: bool = True,
        keep_best: int = 1,
        keep_every_steps: int | None = None,
        failure_seconds: float = 12 * 3600.0,
        max_overhead: float = 0.02,
        max_output_bytes: int | None = None,
        budget_seconds: float | None = None,
        seed: int | None = None,
    ) -> None:
        self._set_up(
            Plan(
                tree=TrainingTree(Path(tree)),
                scenarios=(ScenarioSpec(check_scenario(scenario), total_timesteps),),
                policy=SavePolicy(
                    every_steps=every_steps,
                    every_seconds=every_seconds,
                    keep_last=keep_last,
                    save_best=save_best,
                    keep_best=keep_best,
                    keep_every_steps=keep_every_steps,
                    failure_seconds=failure_seconds,
                    max_overhead=max_overhead,
                ),
                budget_seconds=budget_seconds,
                max_output_bytes=max_output_bytes,
                seed=seed,
            ),
            script=False,
        )

    @classmethod
    def from_environment(
        cls,
        scenario: str | None = None,
        total_timesteps: int = 100_000,
        *,
        scenarios: Mapping[str, int] | None = None,
        seed: int | None = 0,
    ) -> TrainingSession:
        """Open the session that this process runs in; outside any session, plain local training.

        The arguments count outside a session only, where `data/models` below the current folder is
        the tree.

        Args:
            scenario: name of the one scenario; None: the name of the script's folder.
            total_timesteps: its target.
            scenarios: several, name -> target, instead of the two before.
            seed: for environments and models.

        Raises:
            ConfigError: the session's specification is damaged.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            # Python says the same when a process is begun in an import, but a session comes before that
            leave_with(
                UsageError(
                    "a worker process of multiprocessing has imported the script, which opens a session again",
                    hint="put what the script does below: if __name__ == '__main__':",
                )
            )
        session = cls.__new__(cls)
        spec = read_spec_from_environment()
        if spec is not None:
            session._set_up(Plan.of(spec), script=True)
            return session
        targets = scenarios or {scenario or _script_name(): total_timesteps}
        specs = tuple(ScenarioSpec(check_scenario(name), target) for name, target in targets.items())
        session._set_up(Plan(TrainingTree(Path(DEFAULT_TREE)), specs, SavePolicy(), seed=seed), script=True)
        return session

    def _set_up(self, plan: Plan, *, script: bool) -> None:
        self.params: Mapping[str, Any] = plan.params
        self.quick = plan.quick
        self.seed = plan.seed
        self._plan = plan
        self._script = script
        self._working = Path.cwd()
        self._started = session_started()
        self._stack = ExitStack()
        self._opened: list[Scenario] | None = None
        self._outbox: Outbox | None = None
        self._current: Scenario | None = None
        self._events = EventLog(self._working / EVENTS_NAME, plan.spec.session if plan.spec else None)
        self._new_lineage = "l" + secrets.token_hex(8)

    # --- what a script uses -------------------------------------------------------------------------------------

    @property
    def scenario(self) -> Scenario:
        """The one scenario of the session.

        Raises:
            UsageError: it has several, or the `with` has not been entered.
        """
        opened = self._scenarios_open()
        if len(opened) != 1:
            raise UsageError(
                f"this session has {len(opened)} scenarios: {', '.join(s.name for s in opened)}",
                hint="loop over them: for scenario in session.scenarios: ...",
            )
        self._current = opened[0]
        return opened[0]

    @property
    def scenarios(self) -> Iterator[Scenario]:
        """The scenarios still to train, in order; none after the session has been asked to stop."""
        for scenario in self._scenarios_open():
            if self._stop.cause() is not None:
                return
            if not scenario.finished():
                self._current = scenario
                yield scenario

    def load_or_create(self, algorithm: type, policy: Any, env: Any, **arguments: Any) -> Any:
        """Do `Scenario.load_or_create` for the one scenario."""
        return self.scenario.load_or_create(algorithm, policy, env, **arguments)

    def learn(self, model: Any, callback: Any = None, **learn_arguments: Any) -> Outcome:
        """Do `Scenario.learn` for the one scenario."""
        return self.scenario.learn(model, callback, **learn_arguments)

    # --- the with -----------------------------------------------------------------------------------------------

    def __enter__(self) -> TrainingSession:
        try:
            self._enter()
        except CkptsyncError as error:
            self._stack.close()
            if self._plan.spec is not None:  # outside a session the file may belong to whoever holds the lock
                self._events.write_error(error)
            if self._script:
                leave_with(error)
            raise
        except BaseException:
            self._stack.close()
            raise
        return self

    def _enter(self) -> None:
        plan, tree = self._plan, self._plan.tree
        self._stack.enter_context(fsio.locked(tree.lock, what=f"the training tree {tree.root}"))
        self._stack.enter_context(kept_in(self._working / LOG_NAME))
        fsio.make_folder(tree.checkpoints)
        sets.sweep(tree.checkpoints)
        if plan.spec is None:
            for name in (EVENTS_NAME, SESSION_INFO_NAME):  # outside a session each call tells its own story
                fsio.remove_file(self._working / name)
        deadline = None
        if plan.budget_seconds is not None:
            deadline = self._started + max(0.0, plan.budget_seconds - plan.margin_seconds)
        self._stop = self._stack.enter_context(
            StopWatch(
                deadline=deadline,
                margin_seconds=plan.margin_seconds,
                request=self._working / REQUEST_NAME,
                save_request=self._working / SAVE_REQUEST_NAME,
            )
        )
        self._outbox = open_outbox(plan.spec, tree.checkpoints, self._events, self._seconds_to_send)
        if self._outbox is not None:
            self._stack.enter_context(self._outbox)  # before the writer, whose last set it is offered
        surroundings = Surroundings(
            tree=tree,
            policy=plan.policy,
            max_steps=plan.max_steps,
            events=self._events,
            stop=self._stop,
            writer=self._stack.enter_context(ThreadPoolExecutor(1, "ckptsync-writer")),
            leave=self._leave_at_once,
            progress=self._stack.enter_context(closing(self._progress(deadline))),
            disk=Disk(self._working, plan.max_output_bytes),
            alone=len(plan.scenarios) == 1,
            outbox=self._outbox,
        )
        if not self._stop.handles_signals:
            message = (
                "the session runs in no main thread: it hears no signals, and SIGTERM and SIGINT end it without a save"
            )
            self._events.write("warning", message=message)
            log(f"[TRAIN] {message}")
        self._opened = [self._open(spec, surroundings) for spec in plan.scenarios]

    def _seconds_to_send(self) -> float:
        budget, margin = self._plan.budget_seconds, self._plan.margin_seconds
        most = SENDING_SECONDS if self._stop.exit_code == ExitCode.OK else SENDING_AFTER_SIGNAL
        return most if budget is None else min(most, self._started + budget - margin / 2 - time.monotonic())

    def _progress(self, deadline: float | None) -> SessionProgress:
        plan = self._plan
        return SessionProgress(
            {scenario.name: scenario.total_timesteps for scenario in plan.scenarios},
            {scenario.name: self._reached(scenario.name) for scenario in plan.scenarios},
            Limits(deadline, plan.max_steps, plan.policy.every_steps),
            self._working / METRICS_NAME,
        )

    def _reached(self, scenario: str) -> int:
        # For the eye alone, until the scenario begins: then the set that it starts from is chosen with care
        told = self._plan.spec
        if told is not None:
            return told.heads[scenario].num_timesteps if scenario in told.heads else 0
        try:
            head = heads.read_head(self._plan.tree, scenario)
        except ValueError:
            return 0
        return head.num_timesteps if head is not None else 0

    def _open(self, spec: ScenarioSpec, surroundings: Surroundings) -> Scenario:
        told = self._plan.spec
        return Scenario(
            spec,
            surroundings,
            self._chain,
            expected=told.heads.get(spec.name) if told else None,
            fresh=told.fresh if told else False,
            params=self.params,
            quick=self.quick,
            seed=self.seed,
        )

    def _chain(self, resume: Resume | None) -> Chain:
        origin: Origin | None = resume.origin if resume else None
        told = self._plan.spec
        if told is not None:
            return Chain(told.lineage, told.generation, told.session, told.version, origin)
        before = resume.stored.manifest if resume else None
        if before is None:
            return Chain(self._new_lineage, 1, resumed_from=origin)
        return Chain(before.lineage, before.generation + 1, None, before.version, origin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exit_code = exit_code_of(error, self._stop.exit_code)
        problem: CkptsyncError | None = None
        with self._stop.undisturbed():
            try:
                self._end(error, exit_code)
            except CkptsyncError as unwritten:
                log(f"[TRAIN] how the session has ended could not be written down: {unwritten.message}")
                problem = unwritten if exit_code == ExitCode.OK else None  # else there is worse to tell
        told = error or problem
        if isinstance(told, CkptsyncError) and self._script:
            leave_with(told)
        if problem is not None:
            raise problem
        if isinstance(error, KeyboardInterrupt) or (error is None and exit_code != ExitCode.OK):
            raise SystemExit(exit_code)

    def _end(self, error: BaseException | None, exit_code: int) -> None:
        try:
            if error is not None and not isinstance(error, SystemExit):
                log(f"[TRAIN] the session ends: {first_line(error)}")
                self._events.write_error(error)
            self._stop.save_answered()  # nobody is left who could answer
        finally:
            self._stack.close()
        self._write_end(exit_code, f"{type(error).__name__}: {error}" if isinstance(error, Exception) else None)

    def _write_end(self, exit_code: int, error: str | None) -> None:
        if BOOT_VARIABLE in os.environ:
            return  # boot writes it itself, after this process has ended
        info = summarise(
            read_events(self._working / EVENTS_NAME),
            self._plan.spec,
            exit_code,
            time.monotonic() - self._started,
            versions=current_versions(),
            host=current_host(),
            config=self._plan.to_json(),
            trained=trained_seconds(self._plan.tree, [scenario.name for scenario in self._plan.scenarios]),
            error=error,
        )
        write_session_info(self._working / SESSION_INFO_NAME, info)

    def _leave_at_once(self, cause: str) -> NoReturn:
        """End the process from a thread of our own: the script's is in code that does not come back."""
        code = {"signal": self._stop.exit_code, "error": ExitCode.ERROR}.get(cause, ExitCode.OK)
        try:
            self._write_end(code, None)
        except CkptsyncError as error:
            log(f"[TRAIN] {error.message}")
        try:
            if self._outbox is not None:
                self._outbox.close()
            for child in multiprocessing.active_children():
                child.terminate()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _scenarios_open(self) -> list[Scenario]:
        if self._opened is None:
            raise UsageError("the session is not open", hint="with TrainingSession.from_environment() as session: ...")
        return self._opened


def _script_name() -> str:
    script = Path(sys.argv[0]).resolve() if sys.argv and sys.argv[0] else None
    return script.parent.name if script is not None and script.is_file() else Path.cwd().name
