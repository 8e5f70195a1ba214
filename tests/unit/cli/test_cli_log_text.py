from __future__ import annotations

import io

import pytest

from ckptsync.cli import log_text
from ckptsync.cli.log_text import LogEnd, redact_lines
from ckptsync.cli.output import Output


def test_one_object_holds_the_end_of_a_long_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_text, "MAX_JSON_CHARACTERS", 20)
    end = LogEnd()
    for number in range(10):
        end.add([f"line {number}", ""])
    assert end.value() == {"text": "\nline 8\n\nline 9\n\n", "lines_left_out": 15}
    end.add(["x" * 100])
    assert end.value() == {"text": "x" * 100 + "\n", "lines_left_out": 20}


def test_secrets_are_taken_out_of_many_lines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    assert redact_lines(["a", "the key is 0123456789abcdef", ""]) == ["a", "the key is [secret]", ""]
    assert redact_lines([]) == []


def test_many_lines_of_a_result_are_escaped_one_by_one() -> None:
    out = io.StringIO()
    Output(out=out, err=io.StringIO()).results(["plain", "red \x1b[31m", "two\nlines"])
    assert out.getvalue() == "plain\nred \\x1b[31m\ntwo\\nlines\n"
    Output(as_json=True, out=out).results(["not twice"])
    assert "twice" not in out.getvalue()
