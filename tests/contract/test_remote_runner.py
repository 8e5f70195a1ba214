"""The runner of the service for tests keeps the contracts, so that what is tried on it is true of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.testing.remote import RemoteService, ServiceRunner
from ckptsync.testing.remote_contracts import RemoteRunnerContract

pytestmark = pytest.mark.slow  # real processes, limits that pass and graces that run out


class TestServiceRunner(RemoteRunnerContract):
    @pytest.fixture
    def service(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteService:
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # a supervisor that is killed leaves its temporary folder
        return RemoteService(tmp_path / "service")

    @pytest.fixture
    def runner(self, service: RemoteService) -> ServiceRunner:
        return ServiceRunner(service)

    @pytest.fixture
    def other(self, service: RemoteService) -> ServiceRunner:
        return ServiceRunner(service)
