"""The end marker, made from the events of a session: by `boot`, or by the script itself outside any session.

Events that count here (each also has `event`, `at`, `session`):

    start   scenario, num_timesteps, target, resumed_from (an origin or null),
            fidelity {"resumed", "reasons"}, training_seconds (of the sessions before)
    save    scenario, stem, num_timesteps, kind, digest, seconds, size_bytes, metrics
    end     scenario, cause, num_timesteps, checkpoints, signal (its name or null)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import ExitCode
from .session import SessionInfo, SessionSpec

# From best to worst: a session is called by the worst that befell one of its scenarios
_SEVERITY = ("target", "steps", "deadline", "request", "callback", "exit", "signal", "error")
_STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


def summarise(
    events: Iterable[Mapping[str, Any]],
    spec: SessionSpec | None,
    exit_code: int,
    seconds: float,
    *,
    versions: Mapping[str, str] | None = None,
    error: str | None = None,
) -> SessionInfo:
    """Make the end marker of a session from what it wrote down.

    Args:
        events: the lines of events.jsonl, in order; several starts of one scenario count as one.
        spec: what the session was told; None outside any session.
        exit_code: of the script; 130 and 143 mean that it was asked to stop.
        seconds: wall clock of the session.
        versions: of Python and the libraries.
        error: what ended the script, or None.
    """
    scenarios: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("scenario")
        if isinstance(name, str) and event["event"] in _RECORDERS:
            _RECORDERS[event["event"]](scenarios.setdefault(name, _blank(name, spec)), event)
    for block in scenarios.values():
        block["cause"] = block["cause"] or _unfinished(exit_code)
    before = sum(float(block.pop("training_seconds")) for block in scenarios.values())
    return SessionInfo(
        session=spec.session if spec else None,
        cause=_worst([block["cause"] for block in scenarios.values()], exit_code),
        exit_code=exit_code,
        scenarios=scenarios,
        seconds=seconds,
        total_training_time=before + seconds,
        config=spec.to_json() if spec else {},
        versions=versions or {},
        error=error,
    )


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
        "training_seconds": 0.0,
    }


def _record_start(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    if block["started_at"] is None:
        block["started_at"] = event["num_timesteps"]
        block["resumed_from"] = event.get("resumed_from")
        block["training_seconds"] = event.get("training_seconds", 0.0)
    block["num_timesteps"] = max(block["num_timesteps"], event["num_timesteps"])
    block["target"] = event.get("target", block["target"])
    block["fidelity"] = event.get("fidelity", block["fidelity"])
    block["cause"] = None


def _record_save(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    block["checkpoints"] += 1
    block["num_timesteps"] = max(block["num_timesteps"], event["num_timesteps"])
    block["last_kind"] = event.get("kind")
    block["last_checkpoint_time"] = event.get("at")


def _record_end(block: dict[str, Any], event: Mapping[str, Any]) -> None:
    block["cause"] = event["cause"]
    block["num_timesteps"] = event["num_timesteps"]
    block["signal"] = event.get("signal")


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
