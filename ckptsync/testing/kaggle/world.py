"""What all parts of the service share: its folder, settings, clock, lock and numbers."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
import secrets
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from .settings import Settings

Json = dict[str, Any]
T = TypeVar("T")
_MAX_PAGE = 200
_PAGE = 20


class ApiError(Exception):
    """A request that is answered with a status of 400 or more.

    Args:
        status: the HTTP status.
        message: for people, in the answer's JSON.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class World:
    """The service's folder, settings, clock and lock.

    Args:
        folder: where everything is kept.
        settings: see Settings.
        lock: held by whoever reads or changes what the service knows.
        secret: signs the URLs of downloads.
        closing: set when the service stops.
        failures: tracebacks of errors in the service itself.
    """

    folder: Path
    settings: Settings
    lock: threading.RLock = field(default_factory=threading.RLock)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    closing: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(100_000_001))

    def number(self) -> int:
        """Return a number that nothing else has: ids of kernels, datasets, sessions."""
        return next(self._numbers)

    def now(self) -> datetime:
        """Return the service's time of day."""
        return datetime.now(UTC) + timedelta(seconds=self.settings.clock_offset_seconds)

    def failed(self) -> None:
        """Keep the traceback of the error that is being handled."""
        self.failures.append(traceback.format_exc())

    def scaled(self, started: float) -> float:
        """Return the service's seconds since a reading of time.monotonic."""
        return (time.monotonic() - started) * self.settings.time_scale


def stamp(moment: datetime) -> str:
    """Return a time as the JSON of the protocol has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def slugify(title: str) -> str:
    """Return the slug that a title makes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def page(items: Sequence[T], request: Json) -> tuple[Sequence[T], str]:
    """Return one page of a listing and the token of the next, which is empty at the end.

    Raises:
        ApiError: the token is none of ours.
    """
    size = min(int(request.get("pageSize") or _PAGE), _MAX_PAGE)
    token = request.get("pageToken") or ""
    try:
        start = int(base64.urlsafe_b64decode(token)[1:]) if token else 0
    except (ValueError, binascii.Error) as error:
        raise ApiError(400, f"Invalid page token {token!r}") from error
    end = start + size
    following = base64.urlsafe_b64encode(f"@{end}".encode()).decode() if end < len(items) else ""
    return items[start:end], following
