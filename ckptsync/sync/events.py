"""Events that sessions wrote, as the ledger takes them: they come from outside, so every field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import fields

_SCENARIO_EVENTS = {"start": ("num_timesteps",), "save": ("num_timesteps",), "end": ("num_timesteps",)}
_CAUSE_LIMIT = 100


def sound_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as it may stand in the ledger.

    One of a known kind whose fields make no sense is kept as `{"event": "unsound", ...}`: it says that
    something was there, and nobody computes with it.
    """
    kind = event["event"]
    if kind not in _SCENARIO_EVENTS:
        return dict(event)
    try:
        fields.text(event, "scenario")
        fields.count(event, "num_timesteps")
        if kind == "end":
            fields.text(event, "cause")
        if kind == "start" and event.get("fidelity") is not None:
            fidelity = fields.mapping(event, "fidelity")
            fields.texts({"reasons": [], **fidelity}, "reasons")
        if kind == "start" and event.get("target") is not None:
            fields.count(event, "target")
    except ValueError as error:
        return {"event": "unsound", "kind": str(kind), "error": str(error)}
    return dict(event)
