"""The ledger: whole lines or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptsync.core.errors import CorruptError
from ckptsync.project.ledger import Ledger


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.jsonl", folder / "lock")


def test_entries_come_back_in_order(tmp_path: Path):
    first = ledger(tmp_path)
    assert first.entries() == []
    first.append("planned", run="x", session="x/s0001", spec={"a": 1})
    first.append("fresh", run="x", lineage="l0001-aaaaaa")
    entries = ledger(tmp_path).entries()
    assert [(e.seq, e.event, e.session) for e in entries] == [(1, "planned", "x/s0001"), (2, "fresh", None)]
    assert entries[0].fields == {"spec": {"a": 1}}
    assert first.entries() == entries


def test_an_unknown_event_is_a_mistake_of_ours(tmp_path: Path):
    with pytest.raises(ValueError, match="unknown ledger events"):
        ledger(tmp_path).append("nonsense", run="x")


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_counts_for_nothing_and_is_closed(tmp_path: Path, kept):
    book = ledger(tmp_path)
    book.append("fresh", run="x", lineage="one")
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    book.append("fresh", run="x", lineage="two")
    torn = path.read_bytes()[len(whole) :][:kept]
    path.write_bytes(whole + torn)
    again = ledger(tmp_path)
    assert [e.fields["lineage"] for e in again.entries()] == ["one"]
    again.append("fresh", run="x", lineage="three")
    assert [e.fields["lineage"] for e in ledger(tmp_path).entries()] == ["one", "three"]


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path):
    book = ledger(tmp_path)
    for lineage in ("one", "two", "three"):
        book.append("fresh", run="x", lineage=lineage)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"two", b"twO"))
    with pytest.raises(CorruptError, match="line 2 is damaged"):
        ledger(tmp_path).entries()
    with pytest.raises(CorruptError):
        ledger(tmp_path).append("fresh", run="x", lineage="four")


def test_a_missing_line_is_damage(tmp_path: Path):
    book = ledger(tmp_path)
    for lineage in ("one", "two", "three"):
        book.append("fresh", run="x", lineage=lineage)
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(CorruptError, match="expected entry 2, found 3"):
        ledger(tmp_path).entries()


def test_two_writers_see_each_other(tmp_path: Path):
    one, two = ledger(tmp_path), ledger(tmp_path)
    one.append("fresh", run="x", lineage="one")
    two.append("fresh", run="x", lineage="two")
    one.append("fresh", run="x", lineage="three")
    assert [e.seq for e in two.entries()] == [1, 2, 3]


def test_lines_are_plain_json(tmp_path: Path):
    ledger(tmp_path).append("fresh", run="x", lineage="one")
    value = json.loads((tmp_path / "ledger.jsonl").read_text())
    assert (value["seq"], value["event"], value["run"]) == (1, "fresh", "x")


def test_what_was_read_before_is_believed_of_the_same_bytes_alone(tmp_path: Path):
    book, path = ledger(tmp_path), tmp_path / "ledger.jsonl"
    for lineage in ("one", "two", "three"):
        book.append("fresh", run="x", lineage=lineage)
    three = book.entries()
    lines = path.read_bytes().splitlines(keepends=True)
    other = ledger(tmp_path / "other")
    other.append("fresh", run="y", lineage="four")
    path.write_bytes(b"".join(lines[:2]))  # cut, or brought back by hand
    assert book.entries() == three[:2]
    path.write_bytes((tmp_path / "other" / "ledger.jsonl").read_bytes())
    assert [(entry.run, entry.fields["lineage"]) for entry in book.entries()] == [("y", "four")]
    path.write_bytes(b"".join(lines).replace(b"one", b"onE"))
    with pytest.raises(CorruptError, match="line 1 is damaged"):
        book.entries()
    path.unlink()
    assert book.entries() == []


def test_a_line_in_other_json_than_ours_is_the_same_line(tmp_path: Path):
    book, path = ledger(tmp_path), tmp_path / "ledger.jsonl"
    book.append("fresh", run="x", lineage='"crc":"00000000",')
    entries = book.entries()
    path.write_text(json.dumps(json.loads(path.read_text())) + "\n")
    assert ledger(tmp_path).entries() == entries
    path.write_text(path.read_text().replace('"x"', '"y"'))
    with pytest.raises(CorruptError, match="checksum"):
        ledger(tmp_path).entries()
