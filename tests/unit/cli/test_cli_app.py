from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ckptsync._version import __version__
from ckptsync.cli import app, command
from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.cli.failure import Terminated
from ckptsync.cli.output import Answer, Output
from ckptsync.core import errors


def run(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = app.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every command do what the test says; the way there and back stays the real one."""

    def install(function: Any) -> None:
        monkeypatch.setattr(command.Command, "load", lambda self: function)

    return install


@pytest.mark.parametrize("argv", [("--version",), ("--version", "--json"), ("verify", "--version")])
def test_version(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(*argv, capsys=capsys)
    assert code == 0
    if "--json" in argv:
        assert json.loads(out)["version"] == __version__
    else:
        assert out == f"ckptsync {__version__}\n"


@pytest.mark.parametrize("name", ["", *CATALOGUE.by_name])
def test_every_command_has_help_with_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(*filter(None, [name]), "--help", capsys=capsys)
    assert (code, err) == (0, "")
    if name:
        assert out.startswith(f"usage: ckptsync {name}")
        assert "examples:" in out
        assert "exit codes:" in out
    else:
        for known in CATALOGUE.by_name:
            assert f"  {known} " in out


@pytest.mark.parametrize("name", CATALOGUE.by_name)
def test_examples_parse_and_related_commands_exist(name: str) -> None:
    from ckptsync.cli import parser

    described = CATALOGUE.by_name[name]
    assert set(described.see_also) <= set(CATALOGUE.by_name)
    for line, _ in described.examples:
        words = line.replace('eval "$(', "").replace(')"', "").partition(" > ")[0].split()
        assert words[:2] == ["ckptsync", name]
        parser.parse(described, words[2:])


def test_what_changes_something_has_a_dry_run() -> None:
    for name in ("init", "launch", "fetch", "restore", "adopt", "clean", "cancel"):
        assert "--dry-run" in CATALOGUE.by_name[name].option_names


def test_the_function_of_every_command_exists() -> None:
    for described in (CATALOGUE.overview, *CATALOGUE.commands):
        assert callable(described.load())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["lanch"], "did you mean 'launch'?"),
        (["xyzzy"], "there is no command 'xyzzy'"),
        (["launch", "--quik"], "did you mean '--quick'?"),
        (["launch", "--step=3"], "did you mean '--steps'?"),
        (["verify", "a", "b"], "one argument too many: 'b'"),
        (["show"], "required: PATH"),
        (["init", "--kernel", "none"], "invalid choice"),
        (["launch", "--set", "novalue"], "not of the form KEY=VALUE"),
    ],
)
def test_usage_errors(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(*argv, capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[0]
    assert err.splitlines()[1].startswith("  next: ckptsync ")
    code, out, _ = run(*argv, "--json", capsys=capsys)
    answer = json.loads(out)
    assert code == answer["exit_code"] == 2
    assert answer["schema"].startswith("ckptsync.")
    assert answer["error"]["kind"] == "UsageError"


def test_options_stand_before_or_behind_and_between(behave: Any) -> None:
    seen: list[Namespace] = []

    def remember(arguments: Namespace, output: Output) -> Answer:
        seen.append(arguments)
        return Answer(lambda: {"schema": "x/1"}, lambda: [])

    behave(remember)
    assert app.main(["-C", "folder", "--json", "verify", "file", "--against", "other"]) == 0
    assert app.main(["verify", "--against", "other", "file", "--project=folder", "--json"]) == 0
    assert app.main(["diff", "a", "--json", "b"]) == 0
    first, second, third = seen
    assert vars(first) == vars(second)
    assert (first.project, first.as_json, first.target, first.against) == ("folder", True, "file", "other")
    assert (third.left, third.right) == ("a", "b")


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CkptsyncError)],
)
def test_each_error_has_its_exit_code_in_text_and_json(
    kind: type[errors.CkptsyncError], behave: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Namespace, output: Output) -> NoReturn:
        raise kind("what failed", hint="what next")

    behave(fail)
    assert run("verify", "some file", capsys=capsys) == (kind.exit_code, "", "error: what failed\n  next: what next\n")
    code, out, _ = run("verify", "some file", "--json", capsys=capsys)
    assert code == kind.exit_code
    assert json.loads(out) == {
        "schema": "ckptsync.verify/1",
        "target": "some file",
        "verdict": None,
        "findings": [],
        "checkpoints": [],
        "exit_code": kind.exit_code,
        "error": {"kind": kind.__name__, "message": "what failed", "hint": "what next"},
    }


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (Terminated(), 143, "error: terminated"),
        (PermissionError(13, "Permission denied", "/some/file"), 1, "error: /some/file: permission denied"),
        (OSError(28, "No space left on device", "/some/file"), 1, "error: /some/file: the disk is full"),
        (ValueError("odd"), 1, "error: unexpected ValueError: odd"),
    ],
)
def test_other_exceptions_become_a_line_and_a_next_step(
    error: BaseException, code: int, said: str, behave: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Namespace, output: Output) -> NoReturn:
        raise error

    behave(fail)
    found, out, err = run("ls", capsys=capsys)
    assert (found, out) == (code, "")
    assert err.startswith(said)
    assert "Traceback" not in err
    _, _, err = run("ls", "--debug", capsys=capsys)
    assert err.startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (errors.ServiceError("nobody answers"), "  next: ckptsync ls 'a b'\n"),
        (errors.ServiceError("nobody answers", hint="wait"), "  next: wait\n"),
        (errors.ServiceError("it refuses", transient=False), ""),
    ],
)
def test_what_may_go_through_later_is_offered_again(
    error: errors.ServiceError, next_step: str, behave: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Namespace, output: Output) -> NoReturn:
        raise error

    behave(fail)
    assert run("ls", "a b", capsys=capsys) == (1, "", f"error: {error.message}\n{next_step}")


def test_secrets_in_errors_are_not_shown_in_json_either(
    behave: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef")

    def fail(arguments: Namespace, output: Output) -> NoReturn:
        raise errors.CredentialsError("refused: 0123456789abcdef")

    behave(fail)
    code, out, err = run("ls", "--json", capsys=capsys)
    assert code == 10
    assert "0123456789abcdef" not in out + err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_with_its_code(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from ckptsync.cli import app, command\n"
        "def wait(arguments, output):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "command.Command.load = lambda self: wait\n"
        "sys.exit(app.main(['ls', 'a b']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.decode().splitlines()[1] == "  next: ckptsync ls 'a b'"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_modules_load_is_answered_like_any_other(number: signal.Signals, code: int) -> None:
    script = (
        "import os, sys\n"
        "from ckptsync.cli import app\n"
        "class Strike:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ckptsync.cli.parser':\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Strike())\n"
        "sys.exit(app.main(['ls', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (code, code)
    assert "Traceback" not in done.stderr


def test_main_leaves_the_handler_of_sigterm_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    app.main(["lanch"])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, script, err = run("completion", shell, capsys=capsys)
    assert (code, err) == (0, "")
    for name in CATALOGUE.by_name:
        assert name in script


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "ckptsync", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ckptsync {__version__}\n"
