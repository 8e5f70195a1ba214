"""A service of its own for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptsync.testing.kaggle import KaggleService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KaggleService]:
    with KaggleService(tmp_path / "service") as service:
        yield service
    assert service.failures == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
