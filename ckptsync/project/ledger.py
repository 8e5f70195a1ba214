"""The ledger: the append-only history of a project's runs, one line for each transition.

A line is one canonical JSON object with a running number and a checksum over the rest. A line that
the process died in has no line break: it is recognised, it counts for nothing, and the next append
closes it by cutting it off. Any other line that is wrong is damage, and that is an error: a history
with a hole would start a session twice.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio, jsonio
from ..core.clock import now
from ..core.errors import CorruptError, NothingFoundError

# event -> what it says
EVENTS: Mapping[str, str] = {
    "planned": "a session is fixed: spec, inputs; nothing has started yet",
    "fresh": "the sets before this lineage go to the attic",
    "fallback": "a broken head was set aside and an older set took its place",
    "started": "the runner has it: handle",
    "detached": "the command left; the session goes on",
    "cancelled": "the session was asked to stop",
    "finished": "the runner says that it will never run again: state, message",
    "session": "one event that the session wrote itself: data",
    "fetched": "its outputs are here: files",
    "verified": "they were judged: verdict",
    "restoring": "the plan that is about to be carried out: receipt",
    "restored": "the plan was carried out: receipt",
    "closed": "the session leaves nothing to restore: reason",
    "undone": "the last restore was taken back: receipt",
    "pulled": "a set came from the store: scenario, set, lineage, generation",
    "adopted": "plain files were sealed: sets",
}
_MAX_LEDGER_BYTES = 1 << 30
_LOCK_SECONDS = 10.0
_OWN = ("seq", "at", "event", "run", "session", "crc")
_CRC = re.compile(rb'"crc":"[0-9a-f]{8}",')
# What was read last, and its entries: a command reads the history many times, and what was read before stays its start
_last: tuple[bytes, tuple[LedgerEntry, ...]] = (b"", ())


@dataclass(frozen=True)
class LedgerEntry:
    """One line.

    Args:
        seq: its number, from 1.
        at: when, for people; order is by `seq`.
        event: a key of EVENTS.
        run: the run's name.
        session: the session's id, or None.
        fields: what else the event carries.
    """

    seq: int
    at: str
    event: str
    run: str
    session: str | None
    fields: Mapping[str, Any]

    def line(self) -> bytes:
        """Return the line as it stands in the file, line break included."""
        value = {
            **self.fields,
            "seq": self.seq,
            "at": self.at,
            "event": self.event,
            "run": self.run,
            "session": self.session,
        }
        return jsonio.canonical({**value, "crc": _checksum(value)}) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> LedgerEntry:
        """Parse one line without its line break. Raises ValueError when anything is wrong with it."""
        value = jsonio.parse(line)
        if not isinstance(value, dict):
            raise ValueError("it is no object")
        crc = value.pop("crc", None)
        # What `line` writes is canonical already, and need not be written again to be compared
        if crc != f"{zlib.crc32(_CRC.sub(b'', line, count=1)):08x}" and crc != _checksum(value):
            raise ValueError("its checksum disagrees with it")
        fields = {key: kept for key, kept in value.items() if key not in _OWN}
        return cls(value["seq"], value["at"], value["event"], value["run"], value["session"], fields)


def _checksum(value: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(jsonio.canonical(value)):08x}"


class Ledger:
    """Reads and appends to `ledger.jsonl`; any number of processes may do so at once.

    Args:
        path: the file; made by the first append.
        lock: the file whose lock is held for the time of an append or a transaction.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock
        self._held = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let nobody else append until the end of the block; may be nested.

        Raises:
            LockedError: another process holds it for longer than a few seconds.
        """
        if self._held:
            yield
            return
        with fsio.locked(self._lock, what=f"the ledger {self._path}", wait_seconds=_LOCK_SECONDS):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def append(self, event: str, *, run: str, session: str | None = None, **fields: Any) -> LedgerEntry:
        """Append one line durably: when this returns, it survives a power cut.

        Raises:
            CorruptError: the file has damaged lines.
            StorageError: it cannot be written.
        """
        return self.append_all([(event, fields)], run=run, session=session)[0]

    def append_all(
        self, events: Sequence[tuple[str, Mapping[str, Any]]], *, run: str, session: str | None = None
    ) -> list[LedgerEntry]:
        """Append several lines in one write; after a crash the first of them may be there without the others."""
        if unknown := {event for event, _ in events} - set(EVENTS):
            raise ValueError(f"unknown ledger events {unknown}")
        with self.transaction():
            whole, torn = self._read()
            first = len(self._parsed(whole)) + 1
            if torn:
                fsio.truncate(self._path, len(whole))
            added = [
                LedgerEntry(first + index, now(), event, run, session, fields)
                for index, (event, fields) in enumerate(events)
            ]
            fsio.make_folder(self._path.parent)
            fsio.append_line(self._path, b"".join(entry.line() for entry in added))
        return added

    def entries(self) -> list[LedgerEntry]:
        """Return all entries in order; a torn last line counts for nothing.

        Raises:
            CorruptError: a line is damaged or missing.
        """
        whole, _torn = self._read()
        return list(self._parsed(whole))

    def _read(self) -> tuple[bytes, bytes]:
        """Return (whole lines, what a process has left of a line that it died in)."""
        try:
            with fsio.open_regular(self._path) as file:
                data = file.read(_MAX_LEDGER_BYTES)
        except NothingFoundError:
            return b"", b""
        end = data.rfind(b"\n") + 1
        return data[:end], data[end:]

    def _parsed(self, whole: bytes) -> tuple[LedgerEntry, ...]:
        global _last
        known, entries = _last
        if not whole.startswith(known):
            known, entries = b"", ()
        lines = whole[len(known) :].split(b"\n")[:-1]
        entries += tuple(self._checked(line, len(entries) + number) for number, line in enumerate(lines, 1))
        _last = (whole, entries)
        return entries

    def _checked(self, line: bytes, number: int) -> LedgerEntry:
        hint = f"keep a copy of {self._path.name}, then cut it before that line; later sessions can be fetched again"
        try:
            entry = LedgerEntry.parse(line)
        except (ValueError, KeyError) as error:
            raise CorruptError(f"{self._path}, line {number} is damaged: {error}", hint=hint) from None
        if entry.seq != number:
            raise CorruptError(f"{self._path}, line {number}: expected entry {number}, found {entry.seq}", hint=hint)
        return entry
