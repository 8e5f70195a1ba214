"""Kaggle's log as bytes: whatever its records hold, however it is cut into pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ckptsync.runners.kaggle.log import live, stored

RECORDS = [
    {"stream_name": "stdout", "time": 0.1, "data": "first\n"},
    {"stream_name": "stderr", "time": 0.2, "data": "100%|##| ünïcödé \U0001f600\r"},
    {"stream_name": "stdout", "time": 0.3, "data": "no end"},
]
SAID = "".join(str(record["data"]) for record in RECORDS).encode()
STORED = ("[" + "\n,".join(json.dumps(record, ensure_ascii=False) for record in RECORDS) + "\n]").encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_stored_log_in_pieces(size: int) -> None:
    pieces = [STORED[start : start + size] for start in range(0, len(STORED), size)]
    assert b"".join(stored(pieces)) == SAID


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_live_log_in_pieces(size: int) -> None:
    sent = ": comment\n\n" + "".join(f"data: {json.dumps(record)}\n\n" for record in RECORDS)
    sent += "data: END_OF_LOG\n\ndata: {}\n\n"
    data = sent.encode()
    assert b"".join(live(data[start : start + size] for start in range(0, len(data), size))) == SAID


def test_a_log_in_one_line() -> None:
    assert b"".join(stored([json.dumps(RECORDS).encode()])) == SAID


def test_one_record_a_line() -> None:
    assert b"".join(stored(["\n".join(map(json.dumps, RECORDS)).encode()])) == SAID


def test_nothing() -> None:
    assert b"".join(stored([])) == b""
    assert b"".join(stored([b"[]"])) == b""
    assert b"".join(live([])) == b""


def test_what_is_no_record_comes_as_it_is() -> None:
    assert b"".join(stored([b"Traceback (most recent call last)\n"])) == b"Traceback (most recent call last)\n"
    assert b"".join(stored([b'[{"data":"a"},{"data":"b'])) == b'a{"data":"b'
    assert b"".join(stored([b'[1, null, {"x": 1}, {"data": 5}, "text"]'])) == b"text"
    assert b"".join(live([b"data: words\n\n"])) == b"words\n"


@pytest.mark.parametrize("data", [b'[{"data":"caf\xe9 \xff"}]', b'[{"data":"\\ud800 x"}]'])
def test_bytes_that_are_no_text(data: bytes) -> None:
    assert b"".join(stored([data])).decode("utf-8")


def test_a_record_of_megabytes_comes_whole() -> None:
    said = "x" * (3 << 20)
    data = json.dumps([{"data": said}, {"data": "end"}]).encode()
    pieces = [data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20)]
    assert b"".join(stored(pieces)) == said.encode() + b"end"


def test_a_record_without_an_end_is_not_kept_in_memory() -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'[{"data":"'
        for _ in range(16):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    parts = stored(pieces())
    first = next(parts)
    assert sent <= 5 << 20
    assert first + b"".join(parts) == b'{"data":"' + b"x" * (16 << 20)
