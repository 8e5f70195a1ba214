"""What the service allows, and refusing a session that it would not start."""

from __future__ import annotations

from ...core.errors import CkptsyncError, LimitError
from ..base import Allowance, Limits
from .client import KaggleClient
from .settings import OUTPUT_BYTES, KaggleSettings


def limits(client: KaggleClient, settings: KaggleSettings) -> Limits:
    """Return what is allowed now; sessions may be configured to be shorter."""
    return Limits(settings.session_seconds, OUTPUT_BYTES, client.quota())


def require_quota(client: KaggleClient, settings: KaggleSettings) -> None:
    """Refuse a session on a machine whose quota is used up.

    Raises:
        LimitError: with the time when it renews.
    """
    if settings.machine == "cpu":
        return
    try:
        found = client.quota()
    except CkptsyncError as error:
        if not error.transient:
            raise
        return  # the service says it at the push again
    for allowance in found:
        if allowance.kind == settings.machine and allowance.left_seconds <= 0:
            raise quota_error(allowance)


def quota_error(allowance: Allowance) -> LimitError:
    """Return the error for a quota that is used up."""
    renews = f"; it renews at {allowance.renews_at}" if allowance.renews_at else ""
    return LimitError(
        f"the {allowance.kind} quota of {allowance.allowed_seconds / 3600:g} hours on Kaggle is used up{renews}",
        hint='wait for that, or set accelerator = "none"',
        available_at=allowance.renews_at,
    )
