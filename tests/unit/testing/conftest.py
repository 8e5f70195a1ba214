"""What tests of the Kaggle service share: a service, and a raw client of its first account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kaggle_raw import RawClient

from ckptsync.testing.kaggle import KaggleService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KaggleService]:
    """A service on a free port; nothing in it may have failed unexpectedly."""
    with KaggleService(tmp_path / "service") as service:
        yield service
    assert service.failures == []


@pytest.fixture
def client(service: KaggleService) -> RawClient:
    """A client of the service's first account."""
    return RawClient(service)
