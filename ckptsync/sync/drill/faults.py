"""What is wrong with a run, in words with what to do: pure functions of what was observed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core import names
from ...core.errors import ExitCode
from ...core.findings import Severity
from ...runners.base import SessionState
from .observed import Observed

# What each means stands on the page about drills
CODES = (
    "script.crash",
    "script.limit",
    "session.ignored",
    "trip.refused",
    "save.none",
    "save.failed",
    "save.margin",
    "resume.none",
    "resume.no-progress",
    "resume.fidelity",
    "env.not-picklable",
    "stop.ignored",
    "stop.slow",
    "stop.unsaved",
    "stop.untried",
    "steps.ignored",
    "output.outside",
    "seed.missing",
    "network.used",
)
_SHOWN = 3
# What a session says of a scenario that SB3 does not train
_OWN_LOOP = "a loop of its own"
# A session may overshoot its steps by a rollout; more than its steps once again is no overshoot
_OVERSHOOT = 2
_SAVE_ALLOWANCE = 1.5


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, or that people should know.

    Args:
        code: one of CODES.
        severity: a blocker fails the drill, a warning is worth a change, a note is for the record.
        message: what was seen.
        hint: what to do.
    """

    code: str
    severity: Severity
    message: str
    hint: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown code of a fault: {self.code!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the fault as a JSON object."""
        return {"code": self.code, "severity": self.severity.value, "message": self.message, "hint": self.hint}


def exit_code(faults: Iterable[Fault]) -> ExitCode:
    """Return what the drill exits with: 7 when the run does not work, 3 when it works with warnings."""
    severities = {fault.severity for fault in faults}
    if Severity.BLOCKER in severities:
        return ExitCode.SESSION_FAILED
    return ExitCode.PARTIAL if Severity.WARNING in severities else ExitCode.OK


def of_first(seen: Observed, margin_seconds: float) -> Iterator[Fault]:
    """Find faults of the session that began from zero and was stopped."""
    yield from _end(seen, "the first session")
    yield from _outside(seen)
    if any(manifest.session is None for manifest in seen.sealed):
        yield Fault(
            "session.ignored",
            Severity.BLOCKER,
            "the script opens a TrainingSession with words of its own, so what it saves belongs to no session of the run",
            "open it with TrainingSession.from_environment(...), which takes what a launch says",
        )
    elif not seen.sealed:
        yield _nothing_saved(seen)
    else:
        yield from _stop(seen, margin_seconds)
    yield from _saves(seen, margin_seconds)
    if seen.hosts:
        hosts = _some(seen.hosts)
        yield Fault(
            "network.used",
            Severity.NOTE,
            f"the script speaks to {hosts}",
            "a session on Kaggle has a network only when its settings allow it",
        )
    if seen.spec.seed is None:
        yield Fault(
            "seed.missing",
            Severity.NOTE,
            'the run has seed = "none": two runs from zero differ',
            "give it a seed in ckptsync.toml, and the script's environments seed=session.seed",
        )


def of_second(seen: Observed) -> Iterator[Fault]:
    """Find faults of the session that was to go on."""
    yield from _end(seen, "the second session")
    for scenario, origin in seen.spec.heads.items():
        begun = seen.begun.get(scenario)
        if begun is None and seen.crashed:
            continue
        if begun is None or begun.resumed is None or not _has_loaded(seen, scenario, origin.num_timesteps):
            yield _no_resume(seen, scenario, origin.num_timesteps)
            continue
        if seen.reached.get(scenario, 0) <= origin.num_timesteps and not seen.crashed:
            yield Fault(
                "resume.no-progress",
                Severity.BLOCKER,
                f"the second session resumed {scenario} at {origin.num_timesteps:,} steps and saved nothing newer",
                "does the script train after it has resumed?",
            )
        if begun.resumed != "exact":
            yield from _fidelity(scenario, begun.resumed, begun.reasons, seen)
        yield from _steps(seen, scenario, origin.num_timesteps)


def _has_loaded(seen: Observed, scenario: str, num_timesteps: int) -> bool:
    """Whether the script has opened the model that it was given; TrainingSession says so itself."""
    # A seeded script that begins from zero makes the very files of the first session once more
    return seen.uses_session or names.model_name(names.checkpoint_stem(scenario, num_timesteps)) in seen.read


def _end(seen: Observed, which: str) -> Iterator[Fault]:
    if seen.status.state is SessionState.TIMED_OUT:
        severity = Severity.WARNING if seen.sealed else Severity.BLOCKER
        yield Fault(
            "script.limit",
            severity,
            f"{which} was killed at the drill's limit of {seen.spec.budget_seconds:g} s",
            "give it more time with --limit, or less to do with --steps",
        )
    elif seen.crashed:
        reason = (seen.error or seen.status.message or "no reason is known").splitlines()[0]
        yield Fault("script.crash", Severity.BLOCKER, f"{which} failed: {reason}", "its last lines are shown below")


def _nothing_saved(seen: Observed) -> Fault:
    steps = max(seen.reached.values(), default=0)
    if seen.unsealed:
        message = f"no checkpoint can be restored, and the script left {_some(seen.unsealed)}"
        hint = "save as data/models/checkpoints/<scenario>_checkpoint_<N>_steps.zip, or use TrainingSession"
    elif seen.written:
        message = "the script saved nothing in its working folder"
        hint = "what it writes elsewhere does not come home: save below the current folder, by relative paths"
    elif seen.uses_session:
        message = f"the script uses TrainingSession and saved nothing ({steps:,} steps were told)"
        hint = "call session.learn(model), or scenario.clean_point(...) in a loop of your own"
    else:
        message = "the script saved nothing"
        hint = "use TrainingSession, or SB3's CheckpointCallback with save_path='data/models/checkpoints'"
    if seen.warnings:
        message += f"; it was told: {seen.warnings[-1]}"
    return Fault("save.none", Severity.BLOCKER, message, hint)


def _stop(seen: Observed, margin_seconds: float) -> Iterator[Fault]:
    if not seen.interrupted:
        if seen.status.state is SessionState.COMPLETE:
            yield Fault(
                "stop.untried",
                Severity.NOTE,
                "the first session was over before it could be stopped in the middle",
                "a drill with more --steps has more time for it",
            )
        return
    seconds = seen.stop_seconds or 0.0
    if seen.killed:
        yield Fault(
            "stop.ignored",
            Severity.WARNING,
            f"asked to stop, the script went on and was killed after {seconds:.0f} s",
            "do not replace the handler of SIGTERM, and keep single steps of the environment short",
        )
    elif seconds > margin_seconds:
        yield Fault(
            "stop.slow",
            Severity.WARNING,
            f"asked to stop, the script ended after {seconds:.1f} s; the margin is {margin_seconds:g} s",
            f'set margin = "{_rounded(seconds * _SAVE_ALLOWANCE)}s" in ckptsync.toml, or take shorter rollouts',
        )
    if len(seen.saves) <= seen.saves_before_stop or not seen.uses_session:
        yield Fault(
            "stop.unsaved",
            Severity.WARNING,
            "asked to stop, the session saved nothing: what was trained since the last save was lost",
            "TrainingSession saves at every stop"
            if not seen.uses_session
            else "end training by itself at a stop: leave session.learn(...) and the with block alone",
        )


def _saves(seen: Observed, margin_seconds: float) -> Iterator[Fault]:
    worst = max((save.seconds for save in seen.saves), default=0.0) * _SAVE_ALLOWANCE
    if worst > margin_seconds:
        yield Fault(
            "save.margin",
            Severity.WARNING,
            f"a save takes up to {worst / _SAVE_ALLOWANCE:.1f} s, and sessions begin to stop {margin_seconds:g} s before "
            "their end",
            f'set margin = "{_rounded(worst)}s" in ckptsync.toml',
        )
    if seen.failed_saves:
        yield Fault(
            "save.failed",
            Severity.WARNING if seen.sealed else Severity.BLOCKER,
            f"{len(seen.failed_saves)} save(s) failed: {seen.failed_saves[-1]}",
            "the message says what could not be written",
        )
    reasons = {reason for manifest in seen.sealed for reason in manifest.captured_reasons}
    for reason in sorted(reason for reason in reasons if "pickle" in reason):
        yield Fault(
            "env.not-picklable",
            Severity.WARNING,
            f"the environment cannot be captured, so episodes begin anew at each resume: {reason}",
            "leave what cannot be pickled (open files, windows, sockets, lambdas) out of the environment, or give its "
            "class __getstate__ and __setstate__ that do",
        )


def _outside(seen: Observed) -> Iterator[Fault]:
    if seen.written:
        yield Fault(
            "output.outside",
            Severity.WARNING if seen.sealed else Severity.BLOCKER,
            f"the script writes outside its working folder: {_some(seen.written)}",
            "only what lies below the current folder comes home: use relative paths",
        )


def _no_resume(seen: Observed, scenario: str, head: int) -> Fault:
    message = f"the second session was given {scenario} at {head:,} steps and began from zero"
    if seen.uses_session:
        hint = "build the model with session.load_or_create(...), or go on from scenario.begin() in a loop of your own"
    else:
        hint = "load the newest data/models/checkpoints/<scenario>_checkpoint_<N>_steps.zip, or use TrainingSession"
    return Fault("resume.none", Severity.BLOCKER, message, hint)


def _fidelity(scenario: str, resumed: str, reasons: Sequence[str], seen: Observed) -> Iterator[Fault]:
    if reasons and all("pickle" in reason for reason in reasons):
        return  # told by itself, with the attribute's name
    words = "; ".join(reasons) or "no reason is given"
    message = f"{scenario} went on with fidelity {resumed}: {words}"
    if not seen.uses_session:
        hint = "with TrainingSession a resume is exact where the environment allows it"
    elif _OWN_LOOP in words:
        yield Fault("resume.fidelity", Severity.NOTE, message, "what your loop saves and puts back is yours to know")
        return
    else:
        hint = "what each reason means, and what can be done, stands on the page about exact resume"
    yield Fault("resume.fidelity", Severity.WARNING, message, hint)


def _steps(seen: Observed, scenario: str, head: int) -> Iterator[Fault]:
    told, made = seen.spec.max_steps, seen.reached.get(scenario, 0) - head
    if told is not None and made > told * _OVERSHOOT:
        yield Fault(
            "steps.ignored",
            Severity.WARNING,
            f"the second session was told to end after {told:,} steps of {scenario} and made {made:,}",
            "session.learn(model) ends in time; a script of its own is stopped by SIGTERM only",
        )


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"


def _rounded(seconds: float) -> int:
    """Round up to a number that people would choose."""
    return max(5, -(-int(seconds + 0.999) // 5) * 5)
