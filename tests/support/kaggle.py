"""Runners and clients of the Kaggle service for tests, with pauses that cost no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptsync.core import jsonio
from ckptsync.core.patience import Patience
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.runners.base import Submission
from ckptsync.runners.kaggle.client import KaggleClient
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.runners.kaggle.settings import KaggleSettings
from ckptsync.testing.kaggle import Account, KaggleService

# What `boot` prints first, for scripts that have no boot
CONTAINER = (
    "import os\nprint('[CKPTSYNC] container session', os.environ['KAGGLE_CONTAINER_NAME'].split('_')[1], flush=True)\n"
)
PATIENCE = Patience(2.0, first_pause=0.01, longest_pause=0.1)


def client_of(
    service: KaggleService,
    home: Path,
    *,
    account: Account | None = None,
    patience: Patience = PATIENCE,
    timeout: float = 5.0,
) -> KaggleClient:
    """Return a client that knows of nothing but the service."""
    return KaggleClient(service.environment(account), home, timeout=timeout, patience=patience)


def runner_of(
    service: KaggleService,
    home: Path,
    *,
    account: Account | None = None,
    client: KaggleClient | None = None,
    patience: Patience = PATIENCE,
    **settings: Any,
) -> KaggleRunner:
    """Return a runner of the service."""
    return KaggleRunner(
        KaggleSettings(**settings),
        client=client or client_of(service, home, account=account, patience=patience),
        patience=patience,
        dataset_settle_seconds=0.0,
        listing_settle_seconds=0.01,
        log_idle_seconds=0.2,
    )


def bundle_script(
    session: str, *, generation: int = 1, lineage: str = "20260101-aaaaaa", does: str = "", **spec: Any
) -> bytes:
    """Return a script with the first line of a bundle, which does what it is told and nothing of a bundle."""
    run = session.rpartition("/")[0]
    told = SessionSpec(run, session, lineage, generation, (ScenarioSpec("toy", 100),), **spec)
    line = b"# ckptsync-session: " + jsonio.canonical(told.to_json()) + b"\n"
    return line + CONTAINER.encode() + does.encode()


def submission(
    session: str, *, generation: int = 1, inputs: Mapping[str, Path] | None = None, **rest: Any
) -> Submission:
    """Return a submission with such a script."""
    script = bundle_script(session, generation=generation, **rest)
    return Submission(session, generation, script, inputs or {})
