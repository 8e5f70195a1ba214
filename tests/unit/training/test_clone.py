"""A clone is exactly one commit's files, whatever the repository and the machine are set to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.repositories import commit, git, make_repository

from ckptsync.core.code_source import CodeSource
from ckptsync.core.errors import CorruptError, NothingFoundError, ServiceError
from ckptsync.training import clone as module
from ckptsync.training.clone import clone


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    make_repository(folder, {"train.py": "print('first')\n", "deep/helper.py": "x = 1\n", "data.bin": "a\r\nb\n"})
    return folder


def source_of(repository: Path, hash_: str) -> CodeSource:
    return CodeSource.parse({"git": repository.as_uri(), "commit": hash_})


def test_a_commit_that_is_no_longer_the_newest_is_fetched(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, {"train.py": "print('second')\n"})
    target = tmp_path / "clone"
    clone(source_of(repository, first), target)
    assert (target / "train.py").read_text() == "print('first')\n"
    assert (target / "data.bin").read_bytes() == b"a\r\nb\n"
    assert sorted(os.listdir(target)) == [".git", "data.bin", "deep", "train.py"]


def test_nothing_of_a_machines_or_a_repositorys_settings_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submodule = make_repository(tmp_path / "submodule", {"x": "x"})
    mark = tmp_path / "ran"
    hook = tmp_path / "home" / "hooks" / "post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    (tmp_path / "home" / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {hook.parent}\n[filter "evil"]\n\tsmudge = touch {mark} && cat\n\trequired = true\n'
        f'[url "file:///nowhere/"]\n\tinsteadOf = {repository.as_uri()}\n'
    )
    commit(
        repository,
        {
            ".gitattributes": "*.py filter=evil\n*.big filter=lfs diff=lfs merge=lfs -text\n",
            "model.big": "version https://git-lfs.github.com/spec/v1\n",
            ".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = {(tmp_path / "submodule").as_uri()}\n',
        },
    )
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{submodule},s")
    git(repository, "commit", "--quiet", "--message=submodule")
    found = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    clone(source_of(repository, found), tmp_path / "clone")
    assert not mark.exists()
    assert (tmp_path / "clone" / "model.big").read_text().startswith("version https://git-lfs")
    assert os.listdir(tmp_path / "clone" / "s") == []


def test_a_commit_that_is_not_there_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ServiceError, match=rf"commit {'0' * 40} of file:///.* could not be fetched: git fetch: "
    ) as caught:
        clone(source_of(repository, "0" * 40), tmp_path / "clone")
    assert "internet" in str(caught.value.hint)


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="nowhere"):
        clone(source_of(tmp_path / "nowhere", "0" * 40), tmp_path / "clone")


def test_another_commit_than_the_one_asked_for_is_not_run(repository: Path, tmp_path: Path) -> None:
    """A tag object has a hash of its own: what it leads to is not what was named."""
    git(repository, "tag", "--annotate", "--message=x", "v1")
    tag = git(repository, "rev-parse", "v1")
    assert tag != git(repository, "rev-parse", "HEAD")
    with pytest.raises(CorruptError, match=f"expected commit {tag}, found"):
        clone(source_of(repository, tag), tmp_path / "clone")


def test_files_that_differ_from_the_commit_are_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = git(repository, "rev-parse", "HEAD")
    real = subprocess.run

    def meddling(command: list[str], **given: object) -> object:
        done = real(command, **given)  # type: ignore[call-overload]
        if "checkout" in command:
            (tmp_path / "clone" / "train.py").write_text("print('changed')\n")
        return done

    monkeypatch.setattr(module.subprocess, "run", meddling)
    with pytest.raises(CorruptError, match=r"differ from it: .*train\.py"):
        clone(source_of(repository, found), tmp_path / "clone")


def test_a_machine_without_git_is_told(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NothingFoundError, match="no git on this machine"):
        clone(source_of(repository, found), tmp_path / "clone")
