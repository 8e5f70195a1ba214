"""Sessions write beside themselves: every test has a folder of its own as the current one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.core.layout import TrainingTree


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CKPTSYNC_SESSION", "CKPTSYNC_BOOT", "CKPTSYNC_STARTED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tree(tmp_path: Path) -> TrainingTree:
    return TrainingTree(tmp_path / "models")
