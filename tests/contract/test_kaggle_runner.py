"""The runner `kaggle` keeps the contract of runners, against a real HTTP service on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kaggle import CONTAINER, runner_of

from ckptsync.runners.base import Runner
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.remote_contracts import RemoteRunnerContract

pytestmark = pytest.mark.slow  # real processes, limits that pass and graces that run out


class TestKaggleRunner(RemoteRunnerContract):
    preamble = CONTAINER.encode()

    @pytest.fixture
    def service(self, tmp_path: Path) -> Iterator[KaggleService]:
        with KaggleService(tmp_path / "service") as service:
            yield service
        assert service.failures == []

    @pytest.fixture
    def runner(self, service: KaggleService, tmp_path: Path) -> Runner:
        return runner_of(service, tmp_path)

    @pytest.fixture
    def other(self, service: KaggleService, tmp_path: Path) -> KaggleRunner:
        return runner_of(service, tmp_path)
