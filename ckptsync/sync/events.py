"""Events that sessions wrote, as the ledger takes them: they come from outside, so every field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import fields, fsio
from ..core.errors import CkptsyncError, CorruptError
from ..core.layout import EVENTS_NAME, SESSION_INFO_NAME
from ..core.session import read_events, read_session_info
from ..project.config import Project
from ..project.lineage import SessionRecord
from .ledgers import open_ledger
from .reporting import Reporter

_SCENARIO_EVENTS = ("start", "save", "end")


def sound_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it may stand in the ledger.

    One of a known kind whose fields make no sense is kept as `{"event": "unsound", ...}`: it says that
    something was there, and nobody computes with it.
    """
    kind = event["event"]
    try:
        if kind in _SCENARIO_EVENTS:
            _check_scenario_event(event, kind)
        elif kind == "error":
            _check_error(event)
    except ValueError as error:
        return {"event": "unsound", "kind": str(kind), "error": str(error)}
    return dict(event)


def _check_scenario_event(event: Mapping[str, Any], kind: str) -> None:
    fields.text(event, "scenario")
    fields.count(event, "num_timesteps")
    if kind == "end":
        fields.text(event, "cause")
    if kind == "start" and event.get("fidelity") is not None:
        fidelity = fields.mapping(event, "fidelity")
        fields.texts({"reasons": [], **fidelity}, "reasons")
    if kind == "start" and event.get("target") is not None:
        fields.count(event, "target")


def _check_error(event: Mapping[str, Any]) -> None:
    fields.text(event, "type")
    fields.text(event, "message")
    if event.get("hint") is not None:
        fields.text(event, "hint")
    if event.get("exit_code") is not None:
        fields.count(event, "exit_code")


def import_events(project: Project, record: SessionRecord, folder: Path, reporter: Reporter, *, whole: bool) -> None:
    """Take the session's own events into the ledger, each once.

    Args:
        project: the project.
        record: the session.
        folder: its results folder.
        reporter: is warned of events that cannot be read.
        whole: all of its outputs are here, so its end marker is taken too and it counts as fetched.
    """
    ledger = open_ledger(project)
    with ledger.transaction():
        entries = ledger.entries()
        before = sum(1 for e in entries if e.event == "session" and e.session == record.session)
        try:
            events = [sound_event(event) for event in read_events(folder / EVENTS_NAME)]
        except CorruptError as error:  # its sets carry their own seals; without the events only the table is poorer
            reporter.warn(f"the session's events cannot be read: {error.message}")
            events = []
        new: list[tuple[str, Mapping[str, Any]]] = [("session", {"data": event}) for event in events[before:]]
        if whole:
            new.append(("fetched", _end_marker(folder)))
        if new:
            ledger.append_all(new, run=record.run, session=record.session)


def _end_marker(folder: Path) -> dict[str, Any]:
    info = _session_info(folder)
    return {
        "seconds": info.get("seconds"),
        "cause": info.get("cause"),
        "files": len(fsio.list_names(folder)),
        "exit_code": info.get("exit_code"),
        "error": info.get("error"),
    }


def _session_info(folder: Path) -> Mapping[str, Any]:
    # A session that was killed has no end marker, and a damaged one says no more; what it sealed counts all the same
    try:
        info = read_session_info(folder / SESSION_INFO_NAME)
    except CkptsyncError:
        return {}
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "seconds": (int, float),
        "cause": str,
        "exit_code": int,
        "error": str,
    }
    return {key: info[key] for key, kind in kinds.items() if isinstance(info.get(key), kind)}
