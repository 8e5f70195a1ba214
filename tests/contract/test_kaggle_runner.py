"""The runner `kaggle` keeps the contract of runners, against a real HTTP service on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kaggle import runner_of

from ckptsync.runners.base import Runner
from ckptsync.testing.contracts import RunnerContract
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow  # real processes, limits that pass and graces that run out


class TestKaggleRunner(RunnerContract):
    # What `boot` prints first, for scripts that have no boot
    preamble = (
        b"import os\n"
        b"print('[CKPTSYNC] container session', os.environ['KAGGLE_CONTAINER_NAME'].split('_')[1], flush=True)\n"
    )

    @pytest.fixture
    def service(self, tmp_path: Path) -> Iterator[KaggleService]:
        with KaggleService(tmp_path / "service") as service:
            yield service
        assert service.failures == []

    @pytest.fixture
    def runner(self, service: KaggleService, tmp_path: Path) -> Runner:
        return runner_of(service, tmp_path)
