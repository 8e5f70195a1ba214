"""What passes between a project and a session: the specification going in, events and the end marker coming out.

session specification   JSON inside the kernel script; `boot` hands it to the script by a file
events.jsonl            one line each: boot, start, save, removed, end, warning, error, script; written as things happen
session_info.json       the end marker, written last, so its presence says that the session ended by itself
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from . import fsio, jsonio, names
from .clock import now
from .code_source import CodeSource
from .errors import CkptsyncError, ConfigError, CorruptError, NothingFoundError, UsageError
from .layout import DEFAULT_TREE
from .manifest import Origin

SPEC_SCHEMA = "ckptsync.session/1"
INFO_SCHEMA = "ckptsync.session-info/1"
MAX_INFO_BYTES = 16 << 20
# The file that tells the script which session it is in
SPEC_VARIABLE = "CKPTSYNC_SESSION"
# Where a runner has mounted what the session was given; Kaggle's own place when unset
INPUT_VARIABLE = "CKPTSYNC_INPUT_DIR"
DEFAULT_INPUT = "/kaggle/input"
# Set by `boot`: when the session began (on the monotonic clock, which all processes of a machine share and which
# nobody sets; a session's deadline must not move when the time of day is corrected), and that `boot` itself
# writes the end marker
STARTED_VARIABLE = "CKPTSYNC_STARTED"
BOOT_VARIABLE = "CKPTSYNC_BOOT"

# Instead of seconds between saves: the interval that costs least
AUTO: Final = "auto"

# Why a session or a scenario in it ended
CAUSES = ("target", "deadline", "steps", "request", "callback", "signal", "error", "exit")


@dataclass(frozen=True)
class ScenarioSpec:
    """One scenario of a session.

    Args:
        name: the scenario.
        total_timesteps: its target, summed over all sessions.
    """

    name: str
    total_timesteps: int


@dataclass(frozen=True)
class SavePolicy:
    """When to save and what to keep.

    Args:
        every_steps: a save at the first clean point at or after each multiple; None: not by steps.
        every_seconds: a save when this long has passed since the last; AUTO: as long as the measured cost of a
            save and the expected failures make best; None: not by time.
        keep_last: how many of the newest sealed sets are kept (the best, milestones and final ones on top).
        save_best: also save when the mean reward is the best so far.
        keep_best: how many of the sets with the highest mean reward are kept.
        keep_every_steps: a save at the first clean point at or after each multiple, kept for ever; None: none such.
        failure_seconds: for AUTO: the expected time between two ends that come without warning.
        max_overhead: for AUTO: the largest share of the time that saves may hold training up.
    """

    every_steps: int | None = 10_000
    every_seconds: float | Literal["auto"] | None = 180.0
    keep_last: int = 5
    save_best: bool = True
    keep_best: int = 1
    keep_every_steps: int | None = None
    failure_seconds: float = 12 * 3600.0
    max_overhead: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 < self.max_overhead < 1.0:
            raise UsageError(f"max_overhead is {self.max_overhead}, expected a share between 0 and 1")
        if self.failure_seconds <= 0.0:
            raise UsageError(f"failure_seconds is {self.failure_seconds}, expected more than 0")


@dataclass(frozen=True)
class SessionSpec:
    """What a session is told.

    Args:
        run: the run's name.
        session: the session's id, `<run>/s0003`.
        lineage: the lineage that it continues or begins.
        generation: its generation in that lineage.
        scenarios: what to train, in this order.
        version: the user's word for the task.
        tree: the training tree, relative to the working folder.
        heads: scenario -> the set that the session must start from; a scenario without one begins at zero.
        fresh: the user asked to begin from zero.
        quick: this is a short session.
        params: what `launch --set key=value` gave, for the script.
        max_steps: end after this many transitions in this session (per scenario); None: no such limit.
        budget_seconds: the wall clock that the runner allows; None: unlimited.
        margin_seconds: how long before that the session begins to stop.
        save: when to save and what to keep.
        seed: for environments and models; None: not seeded.
        script: the training script, relative to the kernel folder.
        code: the commit whose files stand for the kernel folder; None: the script carries it.
        max_output_bytes: how much the working folder may hold at the end; None: what the disk holds.
        live: the session's checkpoints go to the store while it trains; it sends them itself, by what comes with its inputs.
        relayed: they go, but a process beside the session sends them.
    """

    run: str
    session: str
    lineage: str
    generation: int
    scenarios: tuple[ScenarioSpec, ...]
    version: str = "1"
    tree: str = DEFAULT_TREE
    heads: Mapping[str, Origin] = field(default_factory=dict)
    fresh: bool = False
    quick: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    budget_seconds: float | None = None
    margin_seconds: float = 30.0
    save: SavePolicy = field(default_factory=SavePolicy)
    seed: int | None = 0
    script: str = "train.py"
    code: CodeSource | None = None
    max_output_bytes: int | None = None
    live: bool = False
    relayed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that travels in the kernel script."""
        return {
            "schema": SPEC_SCHEMA,
            **asdict(self),
            "scenarios": [asdict(scenario) for scenario in self.scenarios],
            "heads": {scenario: origin.to_json() for scenario, origin in self.heads.items()},
            "params": dict(self.params),
        }

    @classmethod
    def from_json(cls, value: Any) -> SessionSpec:
        """Parse what `to_json` gave.

        Raises:
            ConfigError: it is anything else.
        """
        try:
            if value["schema"] != SPEC_SCHEMA:
                raise ValueError(f"its schema is {value['schema']!r}, expected {SPEC_SCHEMA!r}")
            known = {key: value[key] for key in cls.__dataclass_fields__ if key in value}
            known["scenarios"] = tuple(ScenarioSpec(**scenario) for scenario in value["scenarios"])
            known["heads"] = {name: Origin.from_json(origin) for name, origin in value["heads"].items()}
            known["save"] = SavePolicy(**value["save"])
            known["code"] = CodeSource.parse(value["code"]) if value.get("code") is not None else None
            spec = cls(**known)
            run, _number = names.parse_session_id(spec.session)
            if run != spec.run:
                raise ValueError(f"session {spec.session!r} is none of run {spec.run!r}")
            for name in (*(scenario.name for scenario in spec.scenarios), *spec.heads):
                names.check_scenario(name)
            names.check_relative(spec.tree)
            names.check_relative(spec.script)
            return spec
        except (KeyError, TypeError, ValueError, AttributeError, CkptsyncError) as error:
            raise ConfigError(f"the session specification is damaged: {error!r}") from None


def read_spec_from_environment() -> SessionSpec | None:
    """Return the specification of the session that this process runs in, or None outside any session."""
    path = os.environ.get(SPEC_VARIABLE)
    if not path:
        return None
    try:
        return SessionSpec.from_json(jsonio.parse(fsio.read_bytes(Path(path), limit=MAX_INFO_BYTES)))
    except (ValueError, NothingFoundError, CorruptError) as error:
        raise ConfigError(f"{SPEC_VARIABLE} names {path}, which cannot be read: {error}") from None


class EventLog:
    """Appends to events.jsonl; the training side knows no ledger, `fetch` imports these lines into it.

    Args:
        path: the file; its folder must exist.
        session: the session's id, or None outside any session.
    """

    def __init__(self, path: Path, session: str | None) -> None:
        self._path = path
        self._session = session

    def write(self, event: str, **fields: Any) -> None:
        """Append one event durably. Numbers that are no JSON are left out by the caller."""
        line = {"event": event, "at": now(), "session": self._session, **fields}
        fsio.append_line(self._path, jsonio.canonical(line) + b"\n")

    def write_error(self, error: BaseException) -> None:
        """Append what ended the session; the exit code is there for an error that ckptsync raised on purpose."""
        own = error if isinstance(error, CkptsyncError) else None
        message = own.message if own is not None else str(error)
        self.write(
            "error",
            type=type(error).__name__,
            message=message.encode("utf-8", "backslashreplace").decode(),  # it may quote a file name that is no text
            hint=own.hint if own is not None else None,
            exit_code=int(own.exit_code) if own is not None else None,
        )


def read_events(path: Path, *, limit: int = MAX_INFO_BYTES) -> list[dict[str, Any]]:
    """Read the events that a session left; none when there is no file.

    A torn last line is left out. Another line that is no event, which a writer that died has left or a
    disk has spoiled, is returned as `{"event": "torn", "line": number}`: history, not a checkpoint.

    Raises:
        CorruptError: the file is larger than `limit`.
    """
    try:
        return parse_events(fsio.read_bytes(path, limit=limit))
    except NothingFoundError:
        return []


def parse_events(data: bytes) -> list[dict[str, Any]]:
    """Read events from the bytes of an events.jsonl, as `read_events` does."""
    lines = data.split(b"\n")
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):  # behind the last line break lies nothing, or a torn line
        try:
            event = jsonio.parse(line)
        except ValueError:
            event = None
        is_event = isinstance(event, dict) and isinstance(event.get("event"), str)
        events.append(event if is_event else {"event": "torn", "line": number})
    return events


@dataclass(frozen=True)
class SessionInfo:
    """The end marker: how a session ended and what it did.

    Args:
        session: its id, or None outside any session.
        cause: the worst of its scenarios' causes, one of CAUSES.
        exit_code: of the script.
        scenarios: name -> {"started_at", "num_timesteps", "target", "cause", "checkpoints", "fidelity", ...}.
        seconds: wall clock of this session.
        total_training_time: seconds over all sessions of the lineage, as far as known.
        config: what the session was told, for people.
        versions: of Python and the libraries.
        error: what ended the script: the error, as a traceback names it, else how it died; or None.
        saves: {"count", "failures", "bytes", "mean_seconds", "worst_seconds", "longest_stall_seconds"}.
        host: what it ran on; see training/host.py.
    """

    session: str | None
    cause: str
    exit_code: int
    scenarios: Mapping[str, Mapping[str, Any]]
    seconds: float
    total_training_time: float
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    saves: Mapping[str, float | None] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, with the keys that older scripts look for."""
        steps = [int(block.get("num_timesteps", 0)) for block in self.scenarios.values()]
        return {
            "schema": INFO_SCHEMA,
            "session": self.session,
            "cause": self.cause,
            "exit_code": self.exit_code,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "scenarios": {name: dict(block) for name, block in self.scenarios.items()},
            "saves": dict(self.saves),
            "versions": dict(self.versions),
            "host": dict(self.host),
            "global_step": max(steps, default=0),
            "total_training_time": round(self.total_training_time, 3),
            "training_completed": bool(self.scenarios) and self.cause == "target",
            "emergency_save": any(block.get("last_kind") == "emergency" for block in self.scenarios.values()),
            "signal": next((b["signal"] for b in self.scenarios.values() if b.get("signal")), None),
            "timestamp": now(),
            "config": dict(self.config),
        }


def read_session_info(path: Path) -> dict[str, Any]:
    """Read an end marker.

    Raises:
        NothingFoundError: there is none: the session did not end by itself.
        CorruptError: it cannot be read.
    """
    try:
        value = jsonio.parse(fsio.read_bytes(path, limit=MAX_INFO_BYTES))
    except ValueError as error:
        raise CorruptError(f"{path}: {error}") from None
    if not isinstance(value, dict) or value.get("schema") != INFO_SCHEMA:
        raise CorruptError(f"{path} is no session information")
    return value


def write_session_info(path: Path, info: SessionInfo) -> None:
    """Write the end marker; the caller has written everything else before."""
    fsio.write_bytes(path, jsonio.pretty(info.to_json()))
