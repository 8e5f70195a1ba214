"""The end marker, made from the events of a session: by `boot`, or by the script itself outside any session.

Events that count here (each also has `event`, `at`, `session`):

    start        scenario, num_timesteps, target, resumed_from (an origin or null),
                 fidelity {"resumed", "reasons"}, training_seconds (of the sessions before), versions, host
    save         scenario, num_timesteps, kind, seconds and stall_seconds (null: not known), size_bytes, metrics
    failed-save  scenario
    end          scenario, cause, num_timesteps, seconds (of training in this session), signal (its name or null)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import names, sets
from .errors import ExitCode
from .heads import read_head
from .layout import TrainingTree
from .session import SessionInfo, SessionSpec

# From best to worst: a session is called by the worst that befell one of its scenarios
_SEVERITY = ("target", "steps", "deadline", "request", "callback", "exit", "signal", "error")
_STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_SECRET = "[secret]"  # noqa: S105  # what stands in place of one


def summarise(
    events: Iterable[Mapping[str, Any]],
    spec: SessionSpec | None,
    exit_code: int,
    seconds: float,
    *,
    versions: Mapping[str, str] | None = None,
    host: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    trained: Mapping[str, float] | None = None,
    error: str | None = None,
) -> SessionInfo:
    """Make the end marker of a session from what it wrote down.

    Args:
        events: the lines of events.jsonl, in order; several starts of one scenario count as one.
        spec: what the session was told; None outside any session.
        exit_code: of the script; 130 and 143 mean that it was asked to stop.
        seconds: how long the session took.
        versions: of Python and the libraries, as far as known here; the script's own words count before them.
        host: what it ran on; the script's own words count before it.
        config: what the session was told, where there is no spec.
        trained: scenario -> seconds of training behind its head, for scenarios that this session did not come to.
        error: what ended the script, or None.
    """
    known = list(events)
    scenarios: dict[str, dict[str, Any]] = {}
    for event in known:
        name = event.get("scenario")
        if isinstance(name, str) and event["event"] in _RECORDERS:
            _RECORDERS[event["event"]](scenarios.setdefault(name, _blank(name, spec)), event)
    for block in scenarios.values():
        block["cause"] = block["cause"] or _unfinished(exit_code)
    times = {name: block.pop("training") for name, block in scenarios.items()}
    starts = [event for event in known if event["event"] == "start"]
    return SessionInfo(
        session=spec.session if spec else None,
        cause=_worst([block["cause"] for block in scenarios.values()], exit_code),
        exit_code=exit_code,
        scenarios=scenarios,
        seconds=seconds,
        total_training_time=_total_time(times, trained or {}, seconds),
        config=_without_secrets(spec.to_json() if spec else config or {}),
        versions={**(versions or {}), **_told(starts, "versions")},
        error=error,
        saves=_saves(known),
        host=_told(starts, "host") or host or {},
    )


def trained_seconds(tree: TrainingTree, scenarios: Iterable[str]) -> dict[str, float]:
    """Return scenario -> seconds of training behind its head, for those whose head says it.

    Args:
        tree: where the heads are.
        scenarios: whose.
    """
    found = {}
    for scenario in scenarios:
        try:
            head = read_head(tree, scenario)
        except ValueError:  # a damaged head is told of where a session starts from it; here it says nothing
            continue
        stored = sets.find(tree.checkpoints, head.stem) if head is not None else None
        if stored is not None and stored.manifest is not None and "training_seconds" in stored.manifest.metrics:
            found[scenario] = stored.manifest.metrics["training_seconds"]
    return found


def _total_time(times: Mapping[str, tuple[float, float | None]], trained: Mapping[str, float], seconds: float) -> float:
    """Add the training times of all scenarios, over all sessions.

    Args:
        times: scenario -> (before this session, with this session or None where the script did not say it).
        trained: scenario -> before this session, for those that it did not come to.
        seconds: of the whole session: what a script that says nothing has trained, as far as known.
    """
    others = sum(float(time) for name, time in trained.items() if name not in times)
    told = [after for _before, after in times.values() if after is not None]
    if not told:
        return others + sum(before for before, _after in times.values()) + seconds
    return others + sum(before if after is None else after for before, after in times.values())


def _saves(events: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    saves = [event for event in events if event["event"] == "save"]
    seconds = [float(event["seconds"]) for event in saves if event.get("seconds") is not None]
    stalls = [float(event["stall_seconds"]) for event in saves if event.get("stall_seconds") is not None]
    return {
        "count": len(saves),
        "failures": sum(event["event"] == "failed-save" for event in events),
        "bytes": sum(int(event.get("size_bytes", 0)) for event in saves),
        "mean_seconds": round(sum(seconds) / len(seconds), 4) if seconds else None,
        "worst_seconds": max(seconds, default=None),
        "longest_stall_seconds": max(stalls, default=None),
    }


def _told(starts: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Return what the newest start says of the process that trained."""
    found: dict[str, Any] = {}
    for start in starts:
        found = start.get(key) or found
    return dict(found)


def _without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    params = {name: _SECRET if names.names_secret(name) else value for name, value in config.get("params", {}).items()}
    return {**config, "params": params} if params else dict(config)


def _blank(name: str, spec: SessionSpec | None) -> dict[str, Any]:
    targets = {scenario.name: scenario.total_timesteps for scenario in spec.scenarios} if spec else {}
    return {
        "started_at": None,
        "num_timesteps": 0,
        "target": targets.get(name),
        "cause": None,
        "checkpoints": 0,
        "resumed_from": None,
        "fidelity": None,
        "last_kind": None,
        "last_checkpoint_time": None,
        "signal": None,
        "training": (0.0, None),
    }


def _record_start(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    if block["started_at"] is None:
        block["started_at"] = event["num_timesteps"]
        block["resumed_from"] = event.get("resumed_from")
    block["training"] = (float(event.get("training_seconds", 0.0)), None)
    block["num_timesteps"] = max(block["num_timesteps"], event["num_timesteps"])
    block["target"] = event.get("target", block["target"])
    block["fidelity"] = event.get("fidelity", block["fidelity"])
    block["cause"] = None


def _record_save(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    block["checkpoints"] += 1
    block["num_timesteps"] = max(block["num_timesteps"], event["num_timesteps"])
    block["last_kind"] = event.get("kind")
    block["last_checkpoint_time"] = event.get("at")
    trained = (event.get("metrics") or {}).get("training_seconds")
    if trained is not None:
        block["training"] = (block["training"][0], float(trained))


def _record_end(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    block["cause"] = event["cause"]
    block["num_timesteps"] = event["num_timesteps"]
    block["signal"] = event.get("signal")
    if event.get("seconds") is not None:
        before = block["training"][0]
        block["training"] = (before, before + float(event["seconds"]))


_RECORDERS = {"start": _record_start, "save": _record_save, "end": _record_end}


def _unfinished(exit_code: int) -> str:
    # A scenario that began and wrote no end: the script left (or, as plain SB3 does, never wrote one)
    if exit_code in _STOPPED:
        return "signal"
    return "exit" if exit_code == ExitCode.OK else "error"


def _worst(causes: list[str], exit_code: int) -> str:
    if exit_code != ExitCode.OK or not causes:
        causes = [*causes, _unfinished(exit_code)]
    return max(causes, key=_SEVERITY.index)
