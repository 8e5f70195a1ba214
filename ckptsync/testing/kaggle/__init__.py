"""A Kaggle service for tests, on loopback: it speaks the protocol of the official client and runs what is pushed."""

from __future__ import annotations

from .accounts import Account
from .downloads import StoredFile
from .faults import Fault, Faults
from .messages import Call
from .runs import Outputs, Run, RunStatus
from .service import KaggleService
from .settings import Settings

__all__ = [
    "Account",
    "Call",
    "Fault",
    "Faults",
    "KaggleService",
    "Outputs",
    "Run",
    "RunStatus",
    "Settings",
    "StoredFile",
]
