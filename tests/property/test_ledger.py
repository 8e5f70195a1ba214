"""The ledger, cut at any byte, tells a true beginning of its history and goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.errors import CorruptError
from ckptsync.project.ledger import EVENTS, Ledger, LedgerEntry

TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    TEXTS.filter(lambda key: key not in ("seq", "at", "event", "run", "session", "crc")), VALUES, max_size=4
)
ENTRIES = st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), FIELDS), min_size=1, max_size=4)


@given(ENTRIES, st.data())
def test_cut_at_any_byte_it_keeps_whole_lines_and_goes_on(entries, data):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        path = folder / "ledger.jsonl"
        written = Ledger(path, folder / "lock").append_all(entries, run="x")
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        kept = Ledger(path, folder / "lock").entries()
        assert kept == written[: whole[:cut].count(b"\n")]
        Ledger(path, folder / "lock").append("fresh", run="x")
        assert [e.seq for e in Ledger(path, folder / "lock").entries()] == list(range(1, len(kept) + 2))


@given(FIELDS, st.data())
def test_one_flipped_bit_never_changes_what_is_believed(fields, data):
    written = LedgerEntry(1, "now", "fresh", "x", None, fields)
    line = bytearray(written.line())
    place = data.draw(st.integers(0, len(line) * 8 - 1))
    line[place // 8] ^= 1 << (place % 8)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        path = Path(name, "ledger.jsonl")
        path.write_bytes(bytes(line))
        try:
            entries = Ledger(path, Path(name, "lock")).entries()
        except CorruptError:
            return
        # The line break itself was hit, so the line is torn; or \u001f became \u001F, which says the same
        assert entries in ([], [written])
