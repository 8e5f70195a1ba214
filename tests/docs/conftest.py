"""What the tests of the pages share: a project with real files in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptsync.cli.app import main


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the toy kernel and one session that came home."""
    folder = tmp_path_factory.mktemp("json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["init", "--kernel", "toy", "--quiet"]) == 0
        assert main(["launch", "--quick", "--quiet"]) == 0
        yield folder
