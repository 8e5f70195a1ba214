"""Bad input from a store in a folder, as a user meets it: what the commands say, and what is left of it."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from support.projects import CONFIG, make_project, seal_set, set_head

from ckptsync.cli.app import main
from ckptsync.core import jsonio
from ckptsync.project.config import load_project
from ckptsync.store.repository import documents

pytestmark = pytest.mark.slow

HEAD, TAG = "heads/a/a.json", "tags/a/a/good.json"
# Somebody else's, at places and with names that look much like ours
FOREIGN = (
    "notes.txt",
    "objects/readme",
    "objects/ab/" + "f" * 64,
    "objects/\x1b[31mred",
    "versions/readme.md",
    "versions/a/a/x/y/z.json",
    "heads/readme",
    "heads/-x/y.json",
    "heads/ x/y.json",
    "heads/a/\x1b[31mred.json",
    "tags/readme.json",
    "tags/a/a/-bad.json",
    "tags/a/a/x.txt",
    "claims/readme.json",
    "claims/push/readme.txt",
    "claims/collect/0123.json",
    "inbox/a/readme",
)
EVERY_COMMAND = (
    "ls --store",
    "push",
    "scrub --structure",
    "scrub",
    "repair",
    "tag better",
    "rollback 100",
    "prune --keep-last 1",
    "copy ../far",
    "pull",
    "status",
)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch, *steps: int) -> Path:
    project = make_project(folder, CONFIG + '\n[store]\nurl = "../store"\n')
    tree = project.tree(project.run("a"))
    for number in steps:
        set_head(tree, seal_set(tree.checkpoints, number, metrics={"ep_rew_mean": 1.5}))
    monkeypatch.chdir(folder)
    return folder.parent / "store"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a store with two checkpoints and a tag."""
    store = enter(tmp_path / "project", monkeypatch, 100, 200)
    for line in ("init-store", "init-store ../far", "push", "tag good 100"):
        assert run(capsys, line)[0] == 0
    return store


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str]:
    """Run a command; return its exit code and all that it said."""
    capsys.readouterr()
    code = main(line.split())
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "unexpected" not in printed.err
    assert "\x1b[31m" not in printed.out + printed.err
    return code, printed.out + printed.err


def test_what_is_somebody_elses_disturbs_no_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in FOREIGN:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("mine")
        os.utime(store / name, (0, 0))  # as if its lease, if it were a claim, were over
    (store / "claims/push/readme.txt").write_text("mine")
    for line in EVERY_COMMAND:
        code, said = run(capsys, line)
        assert code == 0, said
    assert [name for name in FOREIGN if (store / name).read_text() != "mine"] == []


@pytest.mark.parametrize("data", [b"{}", b"\x1b[31m", b""])
def test_a_damaged_head_is_set_anew_by_a_rollback(store: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    (store / HEAD).write_bytes(data)
    for line in ("push", "ls --store", "prune", "copy ../far", "pull", "scrub"):
        code, said = run(capsys, line)
        assert (code, HEAD in said) == (4, True), said
    assert "ckptsync rollback VERSION" in run(capsys, "push")[1]
    assert run(capsys, "rollback 200 --dry-run")[0] == 0
    assert (store / HEAD).read_bytes() == data
    assert run(capsys, "rollback 200")[0] == 0
    assert run(capsys, "scrub")[0] == 0
    assert "a_checkpoint_200_steps" in run(capsys, "show head --store")[1]


def test_a_head_that_names_another_place_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = jsonio.parse((store / HEAD).read_bytes())
    del head["digest"]
    head["version"] = "../../etc/\x1b[31mpasswd"
    (store / HEAD).write_bytes(documents.serialise(head.pop("schema"), head))
    code, said = run(capsys, "pull")
    assert code == 4
    assert "which is no version of a/a" in said


@pytest.mark.parametrize("way_out", ["tag good 200 --move", "tag good --remove"])
def test_a_damaged_tag_is_set_anew_or_taken_away(store: Path, capsys: pytest.CaptureFixture[str], way_out: str) -> None:
    (store / TAG).write_bytes(b"{}")
    code, said = run(capsys, "ls --store")
    assert (code, TAG in said, "--move" in said) == (4, True, True)
    assert run(capsys, "prune")[0] == 4
    assert run(capsys, "tag good 200")[0] == 4
    assert run(capsys, "show 100 --store")[0] == 0  # what has another name is found as before
    assert run(capsys, f"{way_out} --dry-run")[0] == 0
    assert (store / TAG).read_bytes() == b"{}"
    assert run(capsys, way_out)[0] == 0
    assert run(capsys, "push")[0] == 0
    assert run(capsys, "scrub")[0] == 0


@pytest.mark.parametrize("prefix", ["objects", "versions"])
def test_a_checkpoint_that_the_head_names_and_that_is_gone_is_no_first_start(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    for path in (store / prefix).rglob("*"):
        if path.is_file():
            path.unlink()
    enter(tmp_path / "elsewhere", monkeypatch)
    code, said = run(capsys, "pull")
    assert code == 4
    assert "which the head names" in said
    assert "ckptsync repair" in said
    assert not (tmp_path / "elsewhere/data/models/checkpoints").exists()
    monkeypatch.chdir(tmp_path / "project")
    assert run(capsys, "repair")[0] == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(capsys, "pull")[0] == 0


def test_a_full_disk_is_told_and_leaves_the_store_whole(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = load_project(Path.cwd(), environ={})
    tree = project.tree(project.run("a"))
    for steps, size in ((300, 10), (400, 300_000)):
        set_head(tree, seal_set(tree.checkpoints, steps, extra={"resume": os.urandom(size)}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        code, said = run(capsys, "push")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 1
    assert str(store / "objects") in said
    assert run(capsys, "scrub")[0] == 0
    assert run(capsys, "push")[1].count("pushed a_checkpoint_400") > 0


def test_two_repositories_do_not_stand_at_one_place(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (store / "ckptsync-repository.json").read_bytes()
    assert "there is a repository" in run(capsys, "init-store")[1]
    assert (store / "ckptsync-repository.json").read_bytes() == before
    assert run(capsys, "copy ../store")[0] == 2


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:canary@bucket/x",
        "sftp://me:canary@host/x",
        "s3://b/x?X-Amz-Signature=canary",
        "s3://b/x?endpoint=http://me:canary@127.0.0.1:9",
        "az://c/x?connection_string=canary",
        "s3://b/x#canary",
    ],
)
def test_a_secret_in_the_configuration_is_neither_shown_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    folder = tmp_path / "project"
    enter(folder, monkeypatch, 100)
    for section in ("store", "store.far"):
        near = "" if section == "store" else '[store]\nurl = "../store"\n'
        (folder / "ckptsync.toml").write_text(f'{CONFIG}\n{near}[{section}]\nurl = "{url}"\n')
        for line in ("push", "pull --json", "status", "status --json", "ls", "ls --json", "doctor", "init-store"):
            code, said = run(capsys, line)
            assert "canary" not in said
            assert code != 0
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert kept == [folder / "ckptsync.toml"]
