from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from ckptsync.cli.output import Answer, Output, redact
from ckptsync.cli.text import good


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def streams() -> tuple[io.StringIO, io.StringIO]:
    return io.StringIO(), io.StringIO()


def test_an_answer_is_text_on_stdout(streams: tuple[io.StringIO, io.StringIO]) -> None:
    out, err = streams
    Output(out=out, err=err).answer(Answer(lambda: {"schema": "x/1"}, lambda: ["one", [good("two"), " three"]]))
    assert out.getvalue() == "one\ntwo three\n"
    assert err.getvalue() == ""


def test_json_is_one_object_and_the_text_is_not_even_made(streams: tuple[io.StringIO, io.StringIO]) -> None:
    out, err = streams

    def lines() -> list[str]:
        raise AssertionError("nobody asked for text")

    Output(as_json=True, out=out, err=err).answer(Answer(lambda: {"schema": "x/1", "name": "\x1b[2J\u202e"}, lines, 5))
    assert json.loads(out.getvalue()) == {"schema": "x/1", "name": "\x1b[2J\u202e", "exit_code": 5}
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()


def test_quiet_leaves_warnings_and_errors(streams: tuple[io.StringIO, io.StringIO]) -> None:
    out, err = streams
    output = Output(quiet=True, out=out, err=err)
    output.log("going on")
    output.warn("look here")
    output.failure("it broke", "do this", {})
    assert err.getvalue() == "warning: look here\nerror: it broke\n  next: do this\n"
    assert out.getvalue() == ""


def test_a_job_shows_what_it_came_to(streams: tuple[io.StringIO, io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = streams
    output = Output(out=out, err=err)
    output.outcome("elsewhere nothing", 0)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    output.outcome("done", 0)
    output.warn("100 % sure")
    output.failure("no hours left", "wait", {"exit_code": 8})
    output.failure("it broke\n::error::forged\x1b", None, {"exit_code": 7})
    assert err.getvalue().splitlines() == [
        "::notice::done",
        "::warning::100 %25 sure",
        "::notice::no hours left%0Anext: wait",
        "::error::it broke%0A::error::forged\\x1b",
    ]
    assert out.getvalue() == ""


def test_colour_only_on_a_terminal_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    answer = Answer(lambda: {}, lambda: [[good("fine")]])
    terminal, pipe, plain = Terminal(), io.StringIO(), Terminal()
    Output(out=terminal, err=terminal).answer(answer)
    Output(out=pipe, err=pipe).answer(answer)
    monkeypatch.setenv("NO_COLOR", "1")
    Output(out=plain, err=plain).answer(answer)
    assert terminal.getvalue() == "\x1b[32mfine\x1b[0m\n"
    assert pipe.getvalue() == plain.getvalue() == "fine\n"


def test_foreign_text_cannot_forge_lines_or_colours() -> None:
    terminal = Terminal()
    Output(out=terminal, err=terminal).answer(Answer(lambda: {}, lambda: ["evil\nrestorable \x1b[32mfile"]))
    assert terminal.getvalue() == "evil\\nrestorable \\x1b[32mfile\n"


def test_an_encoding_that_lacks_a_character_gets_an_escape() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Output(out=out, err=out).answer(Answer(lambda: {}, lambda: ["模型"]))
    out.flush()
    assert raw.getvalue() == rb"\u6a21\u578b" + b"\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:hunter2@host/x", "https://user:[secret]@host/x"),
        ("GET /o?X-Amz-Signature=abcdef&x=1", "GET /o?X-Amz-Signature=[secret]&x=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [secret]"),
        ("https://user:hun/ter2@host/x", "https://user:[secret]@host/x"),
        ("http://127.0.0.1:9000 is down, ask me@host", "http://127.0.0.1:9000 is down, ask me@host"),
        ("no secret here: token budget", "no secret here: token budget"),
    ],
)
def test_credentials_in_text_are_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_values_of_secret_variables_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, streams: tuple[io.StringIO, io.StringIO]
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "s3cr3t-value-1")
    out, err = streams
    output = Output(out=out, err=err)
    output.log("the script printed s3cr3t-value-1")
    output.failure("refused: s3cr3t-value-1", "try s3cr3t-value-1", {})
    assert "s3cr3t" not in err.getvalue()


def test_a_reader_that_has_gone_is_no_error_and_the_exit_code_stays() -> None:
    script = (
        "from ckptsync.cli.output import Answer, Output\n"
        "Output().answer(Answer(lambda: {}, lambda: (f'line {n}' for n in range(100_000))))\n"
        "raise SystemExit(5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 5
