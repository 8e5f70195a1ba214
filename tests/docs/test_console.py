"""The console blocks of the pages do what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import console, pages
from support.console import Console, Step

from ckptsync.testing.kaggle import KaggleService

SHOWING = [page for page in pages.pages() if pages.blocks(page, "console")]


@contextmanager
def _kaggle(folder: Path) -> Iterator[dict[str, str]]:
    """Start a service in Kaggle's place; yield the environment of a reader, `you`, who has put a token into a file."""
    (folder / "home" / ".kaggle").mkdir(parents=True)
    (folder / "away").mkdir()
    with KaggleService(folder / "away", user="you") as service:
        token = folder / "home" / ".kaggle" / "access_token"
        token.write_text(service.account.token)
        token.chmod(0o600)
        yield {"HOME": str(folder / "home"), "CKPTSYNC_KAGGLE_URL": service.url}


def _play(page: Path, folder: Path, environment: Mapping[str, str]) -> None:
    terminal = Console(folder, environment)
    steps = console.steps(pages.blocks(page, "console"))
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        done = terminal.run(step)
        told = f"{step.block}: {step.command} (exit {done.exit_code})\n" + "\n".join(done.printed)
        assert not step.printed or console.fits(step.printed, done.printed), told
        assert done.exit_code == 0 or (following is not None and "$?" in following.command), told


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWING, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_pages_do_what_they_show(page: Path, tmp_path: Path) -> None:
    # The tutorial and the first run on Kaggle with real training, the others with the toy kernel
    here = tmp_path / "here"
    here.mkdir()
    with _kaggle(tmp_path) as environment:
        _play(page, here, environment)


def test_what_varies_is_passed_over_and_nothing_else() -> None:
    assert console.same("took 4.2 s, 1,024 steps  head", "took 12.31 s, 512 steps head")
    assert console.same("sha256:" + "0" * 64, "sha256:" + "f" * 64)
    assert console.same("x_checkpoint_512_steps.zip, 12 of them", "x_checkpoint_1024_steps.zip, 3 of them")
    assert not console.same("3", "4") and not console.same("exit code 3, said it", "exit code 4, said it")
    assert not console.same("toy/s0001 ended", "toy/s0002 ended")
    assert not console.same("verdict good", "verdict bad")
    assert console.fits(["a", "...", "b"], ["a", "x", "y", "b"])
    assert console.fits(["a", "...", "b"], ["a", "b"])
    assert not console.fits(["a", "b"], ["a", "x", "b"])
    assert not console.fits(["a"], ["a", "x"])


def test_a_command_that_prints_something_else_is_found_out(tmp_path: Path) -> None:
    block = pages.Block(tmp_path, 1, "console", "$ echo one; false\none\n$ echo $?\n1\n")
    first, second = console.steps([block])
    terminal = Console(tmp_path)
    done = terminal.run(first)
    assert (done.printed, done.exit_code) == (("one",), 1)
    assert terminal.run(second).printed == ("1",)
    assert not console.fits(["two"], done.printed)


def test_ctrl_c_is_pressed_when_its_line_has_come(tmp_path: Path) -> None:
    step = Step(pages.Block(tmp_path, 1, "console", ""), "echo ready; sleep 60", ("ready", "^C"))
    done = Console(tmp_path).run(step)
    assert done.printed == ("ready", "^C")
    assert done.exit_code in (130, -2)
