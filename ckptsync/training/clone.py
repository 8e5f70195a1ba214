"""Fetch one commit of a repository and check it before anything of it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ..core import fsio
from ..core.code_source import CodeSource
from ..core.errors import CorruptError, NothingFoundError, ServiceError

_SECONDS = 900.0
_SHOWN_BYTES = 2_000
# Nothing that a machine or a repository configures may run, ask or lead elsewhere: hooks, filters, helpers, submodules
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "LC_ALL": "C",
}
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.autocrlf=false",
    "credential.helper=",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "advice.detachedHead=false",
)


def clone(source: CodeSource, folder: Path) -> None:
    """Fetch a commit into a new folder; it holds exactly that commit's files then.

    Raises:
        NothingFoundError: there is no git on this machine.
        ServiceError: the repository cannot be reached, or does not give that commit.
        CorruptError: what came is another commit, or differs from it.
    """
    if shutil.which("git") is None:
        raise NothingFoundError(
            f"the session's code is commit {source.commit} of {source.git}, and there is no git on this machine",
            hint="let the code travel with the script: remove [runs.<name>.code]",
        )
    git = partial(_git, folder, urlsplit(source.git).scheme)
    fsio.make_folder(folder)
    git("init", "--quiet", "--template=")
    try:
        git("fetch", "--quiet", "--depth=1", "--no-tags", source.git, source.commit)
        git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    except ServiceError as error:
        raise ServiceError(
            f"commit {source.commit} of {source.git} could not be fetched: {error.message}",
            hint="is the internet on for this run, and is that commit pushed? Else let the code travel with the script",
        ) from None
    found = git("rev-parse", "HEAD").strip()
    if found != source.commit:
        raise CorruptError(f"{source.git}: expected commit {source.commit}, found {found}; nothing of it was run")
    changed = git("status", "--porcelain", "--ignored", "--untracked-files=all")
    if changed:
        raise CorruptError(f"the files of commit {source.commit} differ from it: {changed.strip()[:_SHOWN_BYTES]}")


def _git(folder: Path, scheme: str, *arguments: str) -> str:
    settings: Sequence[str] = [part for setting in _SETTINGS for part in ("-c", setting)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=folder,
            env={**own, **_ENVIRONMENT, "GIT_ALLOW_PROTOCOL": scheme},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"git {arguments[0]} did not end within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ServiceError(f"git {arguments[0]}: {said[-_SHOWN_BYTES:] or f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "surrogateescape")
