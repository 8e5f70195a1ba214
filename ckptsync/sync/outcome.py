"""What became of a session, in a word, an exit code and a sentence: by its own account before anybody else's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..core.errors import ExitCode
from ..core.layout import SESSION_INFO_NAME
from ..project.config import RunConfig
from ..project.lineage import SessionRecord
from ..runners.base import SessionState
from .receipts import RestoreReceipt

# What a session may raise that is no fault of its script
_REFUSALS = (ExitCode.CORRUPT, ExitCode.INCOMPATIBLE)


class Ending(StrEnum):
    """In which way a session ended, as far as it decides what to do next."""

    WELL = "ended by itself"
    TIMED_OUT = "reached its time limit"
    CANCELLED = "was cancelled"
    STOPPED = "was stopped from outside"
    CRASHED = "crashed"
    REFUSED = "could not be used"
    NO_PROGRESS = "left nothing new"


@dataclass(frozen=True)
class Outcome:
    """How a session ended.

    Args:
        ending: in which way.
        exit_code: of a command that brought it home.
        message: in a sentence; after a refusal, what was refused in the lines behind it.
    """

    ending: Ending
    exit_code: ExitCode
    message: str


def outcome(record: SessionRecord, receipt: RestoreReceipt | None) -> Outcome:
    """Say what became of a session that is settled.

    Args:
        record: the session.
        receipt: of its restore, or None.
    """
    progress = receipt is not None and receipt.progress
    name, state = record.session, _state(record)
    kept = _kept(receipt) if progress else "it left nothing new"
    # A script that does not stop in time is killed by boot, else by the runner
    late = state == SessionState.TIMED_OUT or (state == SessionState.ERROR and record.cause == "deadline")
    stopped = record.cause == "signal"  # by somebody else than us; it has sealed what it had
    if state == SessionState.ERROR and not (progress and (stopped or late)):
        return _failed(record, kept)
    if receipt is not None and not progress and receipt.exit_code in _REFUSALS:
        told = f"{name} left no checkpoint that may be used; nothing was restored"
        return Outcome(Ending.REFUSED, ExitCode(receipt.exit_code), told)
    if not progress:
        over = late or record.cause == "deadline"
        reason = "its budget was over before there was anything new to save" if over else record.reason or kept
        told = f"{name} ended ({state}) without a new checkpoint: {reason}"
        return Outcome(Ending.NO_PROGRESS, ExitCode.NO_PROGRESS, told)
    if late:
        return Outcome(Ending.TIMED_OUT, ExitCode.PARTIAL, f"{name} was killed at its time limit; {kept}")
    if state == SessionState.CANCELLED:
        return Outcome(Ending.CANCELLED, ExitCode.PARTIAL, f"{name} was cancelled; {kept}")
    if state == SessionState.ERROR:
        return Outcome(Ending.STOPPED, ExitCode.PARTIAL, f"{name} was stopped by a signal; {kept}")
    if record.fell_back or (receipt is not None and receipt.exit_code == ExitCode.PARTIAL):
        told = f"{name} ended, with a broken checkpoint passed over; {kept}"
        return Outcome(Ending.WELL, ExitCode.PARTIAL, told)
    return Outcome(Ending.WELL, ExitCode.OK, f"{name} ended ({record.cause or state}); {kept}")


def next_command(run: RunConfig, record: SessionRecord, receipt: RestoreReceipt | None) -> str:
    """Return what to type after a session is settled."""
    if record.refusal is not None and record.refusal.exit_code == ExitCode.INCOMPATIBLE:
        return f"ckptsync launch {run.name} --fresh"
    if _state(record) == SessionState.ERROR and record.cause not in ("signal", "deadline"):
        return f"ckptsync logs {record.session}"
    heads = {name: origin.num_timesteps for name, origin in record.spec.heads.items()}
    if receipt is not None:
        heads |= {name: moved.head_to.num_timesteps for name, moved in receipt.scenarios.items() if moved.head_to}
    if all(heads.get(s.name, 0) >= s.total_timesteps for s in run.scenarios):
        return f"ckptsync ls {run.name}"
    return f"ckptsync launch {run.name}"


def _state(record: SessionRecord) -> str | None:
    """Return how it ended. A success that the session itself does not vouch for is none: services err in this."""
    if record.state == SessionState.COMPLETE and record.cause in (None, "error", "signal"):
        return SessionState.ERROR
    return record.state


def _failed(record: SessionRecord, kept: str) -> Outcome:
    refusal = record.refusal
    if refusal is not None and refusal.exit_code in _REFUSALS:
        told = f"{record.session} could not resume; {kept}\n{refusal.message}"
        known = refusal.exit_code == ExitCode.INCOMPATIBLE  # its message ends with what to do
        said = told if known or not refusal.hint else f"{told}\n{refusal.hint}"
        return Outcome(Ending.REFUSED, ExitCode(refusal.exit_code), said)
    if record.state == SessionState.COMPLETE and record.cause is None:
        reason = f"{record.runner} says that it is complete, and its own end marker, {SESSION_INFO_NAME}, is missing"
    else:
        # A script that was stopped by a signal says only that; its runner knows why it came
        own = record.error if record.cause != "signal" else None
        reason, *_more = (own or record.message or "its script failed").splitlines()
    return Outcome(Ending.CRASHED, ExitCode.SESSION_FAILED, f"{record.session} failed ({reason}); {kept}")


def _kept(receipt: RestoreReceipt | None) -> str:
    moved = receipt.scenarios.items() if receipt is not None else ()
    return ", ".join(f"{n} is at {m.head_to.num_timesteps:,} steps now" for n, m in moved if m.head_to is not None)
