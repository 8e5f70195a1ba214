"""Opening and leaving a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.loops import events, loop, train

from ckptsync.core import fsio
from ckptsync.core.errors import ConfigError, LockedError, UsageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import read_session_info
from ckptsync.training import TrainingSession

TOY = Path(__file__).parents[3] / "kernels" / "toy" / "train.py"


def test_importing_the_training_side_loads_nothing_heavy() -> None:
    code = "import sys, ckptsync.training; print({'torch', 'numpy', 'stable_baselines3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_two_sessions_never_share_a_tree(tree: TrainingTree) -> None:
    with TrainingSession(tree.root, "a", 100), pytest.raises(LockedError, match="models"):
        TrainingSession(tree.root, "a", 100).__enter__()


def test_a_locked_tree_ends_a_script_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    tree = TrainingTree(Path("data/models"))
    with (
        fsio.locked(tree.lock, what="the tree"),
        pytest.raises(SystemExit) as left,
        TrainingSession.from_environment("a"),
    ):
        pass
    assert left.value.code == 9
    assert "in use by another process" in capsys.readouterr().err


def test_a_worker_that_imports_the_script_is_told_apart_from_another_session(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import multiprocessing\n"
        "from ckptsync.training import TrainingSession\n"
        "with TrainingSession.from_environment('a', 100):\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=print)\n"
        "    worker.start()\n"
        "    worker.join()\n"
        "    print('worker', worker.exitcode)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "worker 2" in done.stdout
    assert "UsageError: a worker process of multiprocessing has imported the script" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr


def test_a_long_error_is_told_in_full_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, TrainingSession.from_environment("a"):
        raise UsageError("in short\nand at length", hint="do better")
    assert left.value.code == 2
    told = "".join(capsys.readouterr())
    assert "the session ends: UsageError: in short\n" in told
    assert told.count("and at length") == told.count("do better") == 1


@pytest.mark.parametrize(
    ("error", "code", "told"), [(None, 1, "StorageError: "), (UsageError("the true reason"), 2, "the true reason")]
)
def test_an_end_that_cannot_be_written_down_hides_no_error(
    capsys: pytest.CaptureFixture[str], error: UsageError | None, code: int, told: str
) -> None:
    with pytest.raises(SystemExit) as left, TrainingSession.from_environment("a"):
        Path("session_info.json").mkdir()
        if error is not None:
            raise error
    assert left.value.code == code
    said = capsys.readouterr()
    assert "how the session has ended could not be written down" in said.out + said.err
    assert told in said.err


def test_the_end_of_an_earlier_call_is_not_taken_for_this_one(tree: TrainingTree) -> None:
    with TrainingSession(tree.root, "a", 100):
        pass
    assert Path("session_info.json").exists()
    with TrainingSession(tree.root, "a", 100):
        assert not Path("session_info.json").exists()


def test_outside_any_session_the_folder_of_the_script_names_the_scenario(tree: TrainingTree) -> None:
    done = subprocess.run([sys.executable, str(TOY)], capture_output=True, text=True, check=True)
    assert "toy begins at 0" in done.stdout
    assert Path("data/models/checkpoints/toy_checkpoint_1000_steps.manifest.json").exists()


def test_torn_sets_are_swept_on_entry(tree: TrainingTree) -> None:
    train(tree.root, 100)
    torn = tree.checkpoints / "a_checkpoint_200_steps.zip"
    torn.write_bytes(b"half")
    (tree.checkpoints / "a_checkpoint_200_steps.pending").write_bytes(b'{"files":["a_checkpoint_200_steps.zip"]}')
    with TrainingSession(tree.root, "a", 100):
        assert not torn.exists()


def test_a_crash_is_told_and_goes_through(tree: TrainingTree) -> None:
    with pytest.raises(ZeroDivisionError), TrainingSession(tree.root, "a", 100) as session:
        loop(session.scenario, at=lambda steps: steps // 0)
    told = read_session_info(Path("session_info.json"))
    assert (told["cause"], told["exit_code"]) == ("error", 1)
    assert "ZeroDivisionError" in told["error"]
    assert events("error")[0]["type"] == "ZeroDivisionError"


def test_under_boot_the_end_marker_is_left_to_boot(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTSYNC_BOOT", "1")
    train(tree.root, 100)
    assert not Path("session_info.json").exists()


def test_a_session_that_is_not_open_says_so(tree: TrainingTree) -> None:
    with pytest.raises(UsageError, match="not open"):
        _ = TrainingSession(tree.root, "a", 100).scenario


def test_several_scenarios_are_no_single_one(tree: TrainingTree) -> None:
    session = TrainingSession.from_environment(scenarios={"a": 1, "b": 1})
    with pytest.raises(SystemExit) as left, session:
        _ = session.scenario
    assert left.value.code == 2


def test_a_damaged_specification_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("spec.json").write_text("{")
    monkeypatch.setenv("CKPTSYNC_SESSION", "spec.json")
    with pytest.raises(ConfigError, match=r"spec\.json"):
        TrainingSession.from_environment()


def test_a_name_that_cannot_be_a_file_name_is_refused(tree: TrainingTree) -> None:
    with pytest.raises(UsageError):
        TrainingSession(tree.root, "../a", 100)


def test_handlers_of_signals_are_given_back(tree: TrainingTree) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    train(tree.root, 10)
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.environ.get("CKPTSYNC_SESSION") is None


def test_a_loop_that_counts_from_zero_where_it_should_go_on_is_refused(tree: TrainingTree) -> None:
    train(tree.root, 100)
    with (
        pytest.raises(
            UsageError, match=r"called at 0 steps, and begin\(\) had said that it goes on from 100"
        ) as caught,
        TrainingSession(tree.root, "a", 200) as session,
    ):
        assert session.scenario.begin() == 100
        session.scenario.clean_point(0, lambda file: None)
    assert "the number that scenario.begin() returns" in (caught.value.hint or "")
