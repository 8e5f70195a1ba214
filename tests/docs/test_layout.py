"""The page of the layout names every file that a project really has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import pages

from ckptsync.core.findings import blocker
from ckptsync.core.names import is_temporary
from ckptsync.core.sets import find
from ckptsync.project.config import load_project
from ckptsync.sync.quarantine import copy_to_quarantine

pytestmark = pytest.mark.slow  # a real session of the toy kernel

LAYOUT = pages.REFERENCE / "layout.md"
# Below these folders lie files of the user's, of packages, or sets
_INSIDE = (".ckptsync/attic/", ".ckptsync/quarantine/", ".ckptsync/cache/", "kernels/")


def _patterns() -> list[re.Pattern[str]]:
    def named(heading: str, below: str = "") -> list[str]:
        return [
            below + name
            for row in pages.rows(pages.section(LAYOUT, heading))
            for name in pages.inline_code(row[0])
            if "." in name or "/" in name or name in ("cancel", "lock")
        ]

    tree = named("The training tree", "data/models/")
    session = ".ckptsync/sessions/<run>/<session>/"
    left = named("What a session leaves")
    names = [
        "ckptsync.toml",
        ".gitignore",
        *tree,
        *named("What ckptsync remembers"),
        *named("What ckptsync remembers", session),
        *(f"results/<run>/<session>/{name}" for name in [*left, *tree]),
        *(f"{session}working/{name}" for name in [*left, *tree]),
    ]
    return [re.compile(re.sub(r"<\w+>", "[^/]+", re.escape(name))) for name in names]


def test_every_file_of_a_project_is_described(project: Path) -> None:
    loaded = load_project(project)
    tree = loaded.tree(loaded.run(None))
    stored = find(tree.checkpoints, next(tree.checkpoints.glob("*_steps.zip")).stem)
    assert stored is not None
    copy_to_quarantine(loaded, stored, [blocker("file.digest", stored.stem)])
    patterns = _patterns()
    locks = {"data/.models.lock"}
    unknown = [
        name
        for path in project.rglob("*")
        if path.is_file() and not is_temporary(path.name)
        for name in [path.relative_to(project).as_posix()]
        if not name.startswith(_INSIDE)
        and not any(pattern.fullmatch(name) for pattern in patterns)
        and not any(name.endswith(lock) for lock in locks)
    ]
    assert not unknown
    reason = [path.name for path in (project / ".ckptsync/quarantine").rglob("reason.json")]
    assert reason and "`reason.json`" in pages.read(LAYOUT)


def test_an_undescribed_file_is_found_out() -> None:
    patterns = _patterns()
    assert any(pattern.fullmatch("data/models/checkpoints/a_checkpoint_10_steps.zip") for pattern in patterns)
    assert any(pattern.fullmatch(".ckptsync/sessions/toy/s0001/exit.json") for pattern in patterns)
    assert not any(pattern.fullmatch("data/models/checkpoints/a_checkpoint_10_steps.other") for pattern in patterns)
    assert not any(pattern.fullmatch(".ckptsync/sessions/toy/s0001/other.json") for pattern in patterns)
