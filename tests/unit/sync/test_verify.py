"""Verdicts of files, sets, trees and sessions' outputs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.hostile import call, sb3_file, serialized
from support.projects import CONFIG, rewrite_manifest, seal_set, set_head, write_model

from ckptsync.core.errors import CorruptError, NothingFoundError
from ckptsync.core.findings import Verdict
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import FileEntry
from ckptsync.sync import inspect, launch, overview
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.overview import ScenarioStatus
from ckptsync.sync.roundtrip import run as trip
from ckptsync.sync.verify import verify_path, verify_run, verify_session

SEALED = "a_checkpoint_100_steps"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one sealed set."""
    place = tmp_path / "models" / "checkpoints"
    seal_set(place, 100, extra={"replay": b"rows" * 100})
    return place


def codes(report, severity="blocker"):
    found = [f for c in report.checkpoints for f in c.findings] + list(report.findings)
    return {finding.code for finding in found if finding.severity == severity}


def test_a_plain_file_is_unsealed_and_valid(tmp_path: Path):
    report = verify_path(write_model(tmp_path / "x_checkpoint_50_steps.zip", 50))
    (checkpoint,) = report.checkpoints
    assert (report.verdict, report.exit_code, checkpoint.sealed) == (Verdict.VALID, 0, False)
    assert (checkpoint.scenario, checkpoint.num_timesteps, checkpoint.kind) == ("x", 50, None)
    value = report.to_json()["checkpoints"][0]
    assert value["signature"]["parameters"]["mlp_extractor.policy_net.0.weight"] == {
        "shape": [8, 4],
        "dtype": "float32",
    }
    assert (value["files"][0]["role"], value["files"][0]["size_bytes"]) == ("model", checkpoint.path.stat().st_size)


def test_a_sealed_set_is_valid_outside_a_project(folder: Path):
    for target in (
        folder,
        folder.parent,
        folder.parent.parent,
        folder / f"{SEALED}.zip",
        folder / f"{SEALED}.manifest.json",
    ):
        report = verify_path(target)
        assert (report.verdict, len(report.checkpoints)) == (Verdict.VALID, 1)
        assert report.checkpoints[0].sealed
        assert [file.role for file in report.checkpoints[0].files] == ["model", "replay"]


def test_against_a_fitting_and_another_network(folder: Path, tmp_path: Path):
    same = write_model(tmp_path / "same.zip", 1)
    other = write_model(tmp_path / "other.zip", 1, hidden=(16, 16))
    assert verify_path(folder, against=same).verdict is Verdict.RESTORABLE
    report = verify_path(folder, against=other)
    assert (report.verdict, report.exit_code) == (Verdict.INCOMPATIBLE, 5)
    assert "arch.parameter-shape" in codes(report)


def test_a_broken_yardstick_is_an_error_about_that_file(folder: Path, tmp_path: Path):
    broken = tmp_path / "yardstick.zip"
    broken.write_bytes(b"no zip at all")
    with pytest.raises(CorruptError, match=r"yardstick\.zip"):
        verify_path(folder, against=broken)
    with pytest.raises(NothingFoundError, match="nowhere"):
        verify_path(folder, against=tmp_path / "nowhere.zip")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "code", "verdict"),
    [
        (lambda f: flip(f / f"{SEALED}.zip"), "file.digest", Verdict.CORRUPT),
        (lambda f: flip(f / f"{SEALED}.replay.bin"), "file.digest", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.replay.bin").unlink(), "file.missing", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.zip").unlink(), "file.missing", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.replay.bin").write_bytes(b""), "file.empty", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.zip").write_bytes(b""), "file.empty", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.replay.bin").write_bytes(b"short"), "file.size", Verdict.CORRUPT),
        (lambda f: flip(f / f"{SEALED}.manifest.json"), "manifest.damaged", Verdict.CORRUPT),
        (lambda f: (f / f"{SEALED}.manifest.json").write_bytes(b"{}"), "manifest.damaged", Verdict.CORRUPT),
        (
            lambda f: (f / f"{SEALED}.manifest.json").write_bytes(b'{"schema":"ckptsync.manifest/99"}'),
            "manifest.schema",
            Verdict.UNREADABLE,
        ),
    ],
)
def test_harm_is_found(folder: Path, harm, code, verdict):
    harm(folder)
    report = verify_path(folder)
    assert (report.verdict, report.exit_code) == (verdict, 4)
    assert code in codes(report)
    assert all(checkpoint.sealed for checkpoint in report.checkpoints)  # never "a plain file"


def test_a_link_in_a_set_is_not_followed(folder: Path, tmp_path: Path):
    for name in (f"{SEALED}.zip", f"{SEALED}.replay.bin"):
        shutil.move(folder / name, tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        report = verify_path(folder)
        assert (report.verdict, "path.special-file" in codes(report)) == (Verdict.UNSAFE, True)
        (folder / name).unlink()
        shutil.move(tmp_path / name, folder / name)


def test_a_manifest_that_lies_about_its_network(folder: Path):
    from ckptsync.core import sets

    manifest = sets.find(folder, SEALED).manifest
    rewrite_manifest(folder, manifest, signature=replace(manifest.signature, net_arch=[64, 64]))
    report = verify_path(folder)
    assert (report.verdict, codes(report)) == (Verdict.CORRUPT, {"manifest.damaged"})


def test_a_manifest_whose_path_leads_outside(folder: Path):
    from ckptsync.core import sets

    manifest = sets.find(folder, SEALED).manifest
    entry = FileEntry("../../etc/passwd", "replay", 1, "sha256:" + "0" * 64)
    rewrite_manifest(folder, manifest, files=(manifest.model, entry))
    assert verify_path(folder).verdict in (Verdict.UNSAFE, Verdict.CORRUPT)


def test_a_pickle_that_would_run_code_is_unsafe_and_named(tmp_path: Path):
    path = tmp_path / "evil_checkpoint_1_steps.zip"
    path.write_bytes(sb3_file(lr_schedule=serialized(call("os", "system", "true"))))
    report = verify_path(path)
    assert (report.exit_code, report.verdict) == (4, Verdict.UNSAFE)
    named = [f for c in report.checkpoints for f in c.findings if f.code == "pickle.foreign-global"]
    assert "os.system" in str(named[0].to_json())


def test_name_and_content_that_disagree_are_a_warning(tmp_path: Path):
    report = verify_path(write_model(tmp_path / "x_checkpoint_999_steps.zip", 50))
    assert (report.verdict, codes(report, "warning") & {"name.num-timesteps"}) == (
        Verdict.VALID,
        {"name.num-timesteps"},
    )
    assert report.checkpoints[0].num_timesteps == 50


def test_the_worst_checkpoint_decides(folder: Path):
    seal_set(folder, 200)
    flip(folder / f"{SEALED}.zip")
    report = verify_path(folder)
    assert [c.verdict for c in report.checkpoints] == [Verdict.CORRUPT, Verdict.VALID]
    assert report.verdict is Verdict.CORRUPT


def test_torn_saves_are_told_and_judged_by_nobody(folder: Path):
    (folder / "a_checkpoint_300_steps.pending").write_bytes(b'{"files":["a_checkpoint_300_steps.zip"]}')
    (folder / "a_checkpoint_300_steps.zip").write_bytes(b"half")
    report = verify_path(folder)
    assert (report.verdict, len(report.checkpoints)) == (Verdict.VALID, 1)
    assert codes(report, "warning") >= {"set.torn"}


def test_nothing_there(tmp_path: Path):
    with pytest.raises(NothingFoundError, match="does not exist"):
        verify_path(tmp_path / "nowhere")
    with pytest.raises(NothingFoundError, match="No checkpoints found") as caught:
        verify_path(tmp_path)
    assert "normal for a first run" in caught.value.hint


def test_names_with_spaces_unicode_and_newlines(tmp_path: Path):
    for name in ("with space.zip", "grüße.zip", "new\nline.zip"):
        assert verify_path(write_model(tmp_path / name, 1)).verdict is Verdict.VALID


def test_the_projects_own_tree_is_compared_with_its_head(bench):
    head = seal_set(bench.tree.checkpoints, 200)
    seal_set(bench.tree.checkpoints, 100, hidden=(16, 16))
    set_head(bench.tree, head)
    report = verify_run(bench.project, bench.run)
    assert [c.verdict for c in report.checkpoints] == [Verdict.INCOMPATIBLE, Verdict.RESTORABLE]
    assert "the head of the local tree, a_checkpoint_200_steps" in report.checkpoints[1].compared_with
    assert [c.head for c in report.checkpoints] == [False, True]
    newest = verify_run(bench.project, bench.run, only_newest=True)
    assert [c.num_timesteps for c in newest.checkpoints] == [200]


def test_the_declaration_comes_first(bench):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 200))
    bench.reload(CONFIG + "[runs.a.expects]\nnet_arch = [32, 32]\n")
    report = verify_run(bench.project, bench.run)
    assert (report.verdict, report.exit_code) == (Verdict.INCOMPATIBLE, 5)
    assert "declares" in report.checkpoints[0].compared_with


def test_what_a_declaration_does_not_say_is_not_compared(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    write_model(bench.tree.checkpoints / "a_checkpoint_10_steps.zip", 10)
    bench.reload(CONFIG + "[runs.a.expects]\nnet_arch = [8, 8]\n")
    assert verify_run(bench.project, bench.run).verdict is Verdict.RESTORABLE


def test_damaged_metadata_never_mean_compatible(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    write_model(bench.tree.checkpoints / "a_checkpoint_10_steps.zip", 10)
    bench.tree.metadata.write_text("{ damaged")
    report = verify_run(bench.project, bench.run)
    assert (report.verdict, codes(report)) == (Verdict.CORRUPT, {"metadata.damaged"})


def test_metadata_of_an_older_script_are_an_expectation(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    write_model(bench.tree.checkpoints / "a_checkpoint_10_steps.zip", 10)
    bench.tree.metadata.write_text('{"policy_architecture": [64, 64], "algorithm": "PPO"}')
    assert codes(verify_run(bench.project, bench.run)) == {"arch.net-arch"}


def test_a_sessions_outputs_are_no_expectation_of_their_own(bench):
    trip(bench.project, bench.run, LaunchOptions(), reporter=bench.told)
    assert verify_session(bench.project, "a/s0001").verdict is Verdict.RESTORABLE
    shutil.rmtree(bench.tree.root)
    assert verify_session(bench.project, "a/s0001").verdict is Verdict.VALID
    with pytest.raises(NothingFoundError, match="was fetched"):
        verify_session(bench.project, "a/s0009")


def test_a_file_elsewhere_is_not_compared_with_the_project(bench, tmp_path: Path):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 200))
    other = write_model(tmp_path / "other.zip", 1, hidden=(16, 16))
    assert verify_path(other, project=bench.project).verdict is Verdict.VALID
    named = other.rename(tmp_path / "a_checkpoint_1_steps.zip")
    assert verify_path(named, project=bench.project, run=bench.run).verdict is Verdict.INCOMPATIBLE


def test_ls_reads_seals_and_keeps_verdicts_while_they_hold(bench):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 200))
    listed = inspect.list_tree(bench.project, bench.run)
    assert (listed.verdict, listed.checkpoints[0].verdict, listed.checkpoints[0].head) == (None, None, True)
    verify_run(bench.project, bench.run)
    assert inspect.list_tree(bench.project, bench.run).checkpoints[0].verdict is Verdict.RESTORABLE
    model = bench.tree.checkpoints / "a_checkpoint_200_steps.zip"
    model.write_bytes(model.read_bytes())
    assert inspect.list_tree(bench.project, bench.run).checkpoints[0].verdict is None
    assert listed.to_json()["schema"] == "ckptsync.ls/1"


@pytest.mark.parametrize("data", [b"{", None])
def test_a_head_that_is_no_good_is_never_shown_as_an_empty_tree(bench, data):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 200))
    path = bench.tree.head("a")
    path.unlink() if data is None else path.write_bytes(data)
    listed = inspect.list_tree(bench.project, bench.run)
    assert [finding.code for finding in listed.findings] == (["head.damaged"] if data else [])
    [status] = overview.overview(bench.project).runs
    assert status.scenarios == (ScenarioStatus("a", 200, 1000, None, damaged=True),)
    assert status.next_command == "ckptsync verify a"
    [room] = launch.plan(bench.project, bench.run, LaunchOptions()).rooms
    assert room.set_bytes is not None


def test_ls_shows_what_is_there_without_judging(folder: Path):
    write_model(folder / "a_checkpoint_400_steps.zip", 400)
    (folder / "a_checkpoint_500_steps.manifest.json").write_bytes(b"broken")
    listed = inspect.list_path(folder)
    assert [(c.num_timesteps, c.sealed) for c in listed.checkpoints] == [(100, True), (400, False), (500, True)]


def test_show_is_one_checkpoint_in_full(folder: Path):
    report = inspect.show_path(folder / f"{SEALED}.zip")
    assert (report.schema, report.verdict) == ("ckptsync.show/1", Verdict.VALID)


def test_diff_says_where_two_networks_differ(folder: Path, tmp_path: Path):
    other = write_model(tmp_path / "other.zip", 1, hidden=(16, 16))
    assert inspect.diff_paths(folder, folder).exit_code == 0
    assert inspect.diff_paths(folder, folder).same_weights
    report = inspect.diff_paths(folder, other)
    assert report.exit_code == 5
    finding = next(f for f in report.findings if f.code == "arch.net-arch")
    assert (finding.expected, finding.actual) == ([8, 8], [16, 16])
    other.write_bytes(b"PK")
    with pytest.raises(CorruptError, match=r"other\.zip"):
        inspect.diff_paths(folder, other)


def test_the_trees_of_several_scenarios_are_judged_each_by_its_own_head(tmp_path: Path):
    tree = TrainingTree(tmp_path)
    set_head(tree, seal_set(tree.checkpoints, 100))
    set_head(tree, seal_set(tree.checkpoints, 100, scenario="b", hidden=(16, 16)))
    assert [c.head for c in verify_path(tmp_path).checkpoints] == [True, True]
