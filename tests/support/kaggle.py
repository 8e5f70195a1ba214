"""Runners and clients of the Kaggle service for tests, with pauses that cost no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckptsync.runners.kaggle.client import KaggleClient
from ckptsync.runners.kaggle.retry import Patience
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.runners.kaggle.settings import KaggleSettings
from ckptsync.testing.kaggle import Account, KaggleService

PATIENCE = Patience(2.0, first_pause=0.01, longest_pause=0.1)


def client_of(
    service: KaggleService, home: Path, *, account: Account | None = None, patience: Patience = PATIENCE
) -> KaggleClient:
    """Return a client that knows of nothing but the service."""
    return KaggleClient(service.environment(account), home, timeout=5.0, patience=patience)


def runner_of(
    service: KaggleService,
    home: Path,
    *,
    account: Account | None = None,
    patience: Patience = PATIENCE,
    **settings: Any,
) -> KaggleRunner:
    """Return a runner of the service."""
    return KaggleRunner(
        KaggleSettings(**settings),
        client=client_of(service, home, account=account, patience=patience),
        patience=patience,
        dataset_settle_seconds=0.0,
        listing_settle_seconds=0.01,
        log_idle_seconds=0.2,
    )
