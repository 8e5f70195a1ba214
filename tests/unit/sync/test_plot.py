"""The history of a run out of what its sessions left, of one that still runs, and of plain training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.projects import Script, seal_set, set_head

from ckptsync.core.errors import CorruptError, NothingFoundError, UsageError
from ckptsync.core.layout import METRICS_NAME
from ckptsync.core.manifest import Origin
from ckptsync.core.metrics import Row, Stretch, row_line, start_line
from ckptsync.core.session import SessionSpec
from ckptsync.runners.base import SessionHandle, SessionState
from ckptsync.sync import restore, roundtrip
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.plot import plot_path, plot_run, plot_session

from .conftest import Bench

pytestmark = pytest.mark.slow


def metrics_of(spec: SessionSpec, until: int, *, beyond: int = 0) -> bytes:
    """What a session writes that trains to N and is killed some steps later."""
    origin = spec.heads.get("a")
    begun = origin.num_timesteps if origin is not None else 0
    number = float(spec.session[-4:])
    stretch = Stretch("a", begun, spec.session, spec.lineage, spec.generation, 1000, origin)
    rows = [
        Row(steps, {"ep_rew_mean": number, "train/loss": 0.5}) for steps in range(begun + 50, until + beyond + 1, 50)
    ]
    return start_line(stretch) + b"".join(row_line("a", row) for row in rows)


def train(bench: Bench, *, beyond: int = 0, state: SessionState = SessionState.COMPLETE) -> str:
    """Run one session that seals two sets and trains a little beyond them; return its id."""

    def change(working: Path) -> None:
        spec = bench.runner.spec_of(bench.runner.started[-1].session)
        begun = spec.heads["a"].num_timesteps if spec.heads else 0
        (working / METRICS_NAME).write_bytes(metrics_of(spec, begun + 200, beyond=beyond))

    bench.runner.script = Script(change=change, state=state)
    trip = roundtrip.run(bench.project, bench.run, LaunchOptions(), reporter=bench.told)
    assert trip.session is not None
    return trip.session


def points(bench: Bench, metric: str = "ep_rew_mean") -> list[tuple[int, float]]:
    (curves,) = plot_run(bench.project, bench.run, metrics=[metric]).curves
    return curves.history.points(metric)


def test_sessions_are_joined_and_lost_steps_cut_off(bench: Bench) -> None:
    train(bench)
    train(bench, beyond=100, state=SessionState.TIMED_OUT)
    train(bench)
    assert points(bench) == [(n, 1.0 if n <= 200 else 2.0 if n <= 400 else 3.0) for n in range(50, 601, 50)]
    report = plot_run(bench.project, bench.run)
    assert report.curves[0].metrics == ("ep_rew_mean", "train/loss")
    sessions = report.to_json()["scenarios"][0]["sessions"]
    assert [(s["session"], s["begun_at"], s["ended_at"]) for s in sessions] == [
        ("a/s0001", 0, 200),
        ("a/s0002", 200, 400),
        ("a/s0003", 400, 600),
    ]


def test_saves_are_metrics_too(bench: Bench) -> None:
    train(bench)
    assert "save_bytes" not in plot_run(bench.project, bench.run).curves[0].history.metrics  # not told by this runner
    with (bench.project.layout.results("a/s0001") / "events.jsonl").open("ab") as events:
        events.write(b'{"event":"save","scenario":"a","num_timesteps":100,"seconds":0.25}\n')
    assert points(bench, "save_seconds") == [(100, 0.25)]


def test_a_session_whose_restore_was_taken_back_is_no_part(bench: Bench) -> None:
    train(bench)
    train(bench)
    restore.undo(bench.project, bench.run, bench.told)
    assert points(bench)[-1] == (200, 1.0)
    train(bench)
    assert {y for _x, y in points(bench)} == {1.0, 3.0}


def test_results_that_were_cleaned_away_are_named_and_bridged(bench: Bench) -> None:
    for _ in range(3):
        train(bench)
    (bench.project.layout.results("a/s0002") / METRICS_NAME).unlink()
    report = plot_run(bench.project, bench.run)
    assert {y for _x, y in report.curves[0].history.points("ep_rew_mean")} == {1.0, 3.0}
    assert report.notes == ("a: the numbers of a/s0002 are not here",)


def test_a_session_that_runs_is_drawn_as_far_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    train(bench)
    monkeypatch.setattr(type(bench.runner), "request_save", lambda self, handle: None, raising=False)

    def change(working: Path) -> None:
        spec = bench.runner.spec_of("a/s0002")
        (working / METRICS_NAME).write_bytes(metrics_of(spec, 300) + b'{"at":"20')

    bench.runner.script = Script(change=change, state=SessionState.RUNNING)
    roundtrip.run(bench.project, bench.run, LaunchOptions(), detach=True, reporter=bench.told)
    assert not bench.project.layout.results("a/s0002").exists()
    assert points(bench)[-2:] == [(250, 2.0), (300, 2.0)]

    def broken(handle: SessionHandle, file: object, offset: int = 0) -> Iterator[bytes]:
        raise UsageError("the line is dead")

    bench.runner.read_output = broken  # type: ignore[method-assign]
    report = plot_run(bench.project, bench.run)
    assert report.curves[0].history.points("ep_rew_mean")[-1] == (200, 1.0)
    assert report.notes == ("what a/s0002 has written so far cannot be read: the line is dead",)


def test_one_session_alone(bench: Bench) -> None:
    train(bench)
    second = train(bench)
    from ckptsync.sync.ledgers import find_record

    report = plot_session(bench.project, find_record(bench.project, second))
    assert [x for x, _y in report.curves[0].history.points("ep_rew_mean")] == [250, 300, 350, 400]


def test_training_by_hand_in_the_project_is_a_part(bench: Bench) -> None:
    train(bench)
    lineage = bench.runner.spec_of("a/s0001").lineage
    made = seal_set(bench.tree.checkpoints, 300, lineage=lineage, generation=2)
    set_head(bench.tree, made)
    by_hand = Stretch("a", 200, None, lineage, 2, 1000, Origin("a/s0001", 200, "sha256:" + "0" * 64))
    lines = start_line(by_hand) + row_line("a", Row(300, {"ep_rew_mean": 77.0}))
    (bench.project.root / METRICS_NAME).write_bytes(lines)
    assert points(bench)[-2:] == [(200, 1.0), (300, 77.0)]


def test_without_any_history_the_seals_speak(bench: Bench) -> None:
    for steps, reward in [(100, 1.5), (200, 2.5)]:
        set_head(bench.tree, seal_set(bench.tree.checkpoints, steps, metrics={"ep_rew_mean": reward}))
    for report in (plot_run(bench.project, bench.run), plot_path(bench.tree.root)):
        assert report.curves[0].history.points("ep_rew_mean") == [(100, 1.5), (200, 2.5)]
        assert "numbers in the manifests" in report.notes[0]


def test_nothing_yet_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(NothingFoundError, match="No metrics found in a") as caught:
        plot_run(bench.project, bench.run)
    assert caught.value.hint == "ckptsync launch a --quick"


def test_unknown_names_are_refused_with_the_known_ones(bench: Bench) -> None:
    train(bench)
    with pytest.raises(UsageError, match="no metric 'reward'") as caught:
        plot_run(bench.project, bench.run, metrics=["reward"])
    assert "ep_rew_mean" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no numbers of scenario 'b'") as caught:
        plot_run(bench.project, bench.run, scenario="b")
    assert "a" in (caught.value.hint or "")


def plain_training(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first = Stretch("x", 0, lineage="l", generation=1)
    second = replace(first, begun_at=20, generation=2, resumed_from=Origin(None, 20, "sha256:" + "0" * 64))
    lines = [start_line(first), *(row_line("x", Row(n, {"r": 1.0})) for n in (10, 20, 30))]
    lines += [start_line(second), *(row_line("x", Row(n, {"r": 2.0})) for n in (30, 40))]
    (folder / METRICS_NAME).write_bytes(b"".join(lines))


@pytest.mark.parametrize("where", [METRICS_NAME, ".", "data/models"])
def test_plain_training_is_found_by_file_folder_and_tree(tmp_path: Path, where: str) -> None:
    plain_training(tmp_path)
    (tmp_path / "data" / "models").mkdir(parents=True)
    (curves,) = plot_path(tmp_path / where).curves
    assert curves.metrics == ("r",)
    assert curves.history.points("r") == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]


def test_a_tree_is_known_from_within_its_parent_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_training(tmp_path)
    (tmp_path / "data" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    assert plot_path(Path("models")).curves[0].history.points("r")[0] == (10, 1.0)


def test_a_folder_of_sessions_is_one_history(bench: Bench) -> None:
    train(bench)
    train(bench)
    (curves,) = plot_path(bench.project.layout.root / "results" / "a").curves
    assert {y for _x, y in curves.history.points("ep_rew_mean")} == {1.0, 2.0}


def test_a_folder_of_several_trees_is_not_guessed_at(bench: Bench) -> None:
    train(bench)
    train(bench)
    with pytest.raises(UsageError, match=r"holds several histories: .*a/s0001.*a/s0002") as caught:
        plot_path(bench.project.layout.root / "results")
    assert "name the folder" in caught.value.hint


def test_lines_that_make_no_sense_are_told(tmp_path: Path) -> None:
    plain_training(tmp_path)
    with (tmp_path / METRICS_NAME).open("ab") as file:
        file.write(b"nonsense\n")
    (note,) = plot_path(tmp_path).notes
    assert "1 line(s) make no sense" in note


def test_a_giant_file_is_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_training(tmp_path)
    monkeypatch.setattr("ckptsync.sync.metric_sources.MAX_METRICS_BYTES", 10)
    for path in (tmp_path, tmp_path / METRICS_NAME):
        with pytest.raises(CorruptError):
            plot_path(path)


@pytest.mark.parametrize("name", ["nothing-here", "empty"])
def test_a_path_without_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFoundError):
        plot_path(tmp_path / name)
