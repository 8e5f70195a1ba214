"""Events that sessions wrote, as the ledger takes them: they come from outside, so every field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import fields

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
