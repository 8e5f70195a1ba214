"""The built-in policies keep the contracts that any other must keep."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ckptsync.core import policy
from ckptsync.core.policy import Moment, Retained
from ckptsync.core.session import SavePolicy
from ckptsync.testing.policy_contracts import RetentionContract, SavingContract


class TestRetention(RetentionContract):
    def to_remove(self, sets: Sequence[Retained], given: SavePolicy, keep: Collection[str]) -> Sequence[str]:
        return policy.to_remove(sets, given, keep=keep)


class TestSaving(SavingContract):
    def kind_to_save(self, given: SavePolicy, moment: Moment) -> str | None:
        return policy.kind_to_save(given, moment)
