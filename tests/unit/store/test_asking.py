"""What a server's library raises is translated before it is borne."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptsync.core.errors import CkptsyncError, CredentialsError, ServiceError
from ckptsync.store.asking import PATIENCE, ask
from ckptsync.store.base import PreconditionError


class Server:
    """Fails once with each of some errors; what is slept meanwhile is noted."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)
        self.slept: list[float] = []

    def ask(self) -> str:
        return ask(replace(PATIENCE, sleep=self.slept.append, chance=lambda: 0.5), self._answer, translate)

    def _answer(self) -> str:
        if self.left:
            raise self.left.pop(0)
        return "done"


def translate(error: Exception) -> ServiceError:
    return ServiceError(f"translated: {error}", transient=isinstance(error, OSError))


def test_foreign_exceptions_are_borne_as_what_they_are_translated_to() -> None:
    server = Server(OSError("busy"), ServiceError("busy"), OSError("busy"))
    assert server.ask() == "done"
    assert server.slept == [0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("no"), ServiceError),
        (ServiceError("no", transient=False), ServiceError),
        (CredentialsError("who?"), CredentialsError),
        (PreconditionError("somebody else was first"), PreconditionError),
    ],
)
def test_what_will_not_pass_is_not_asked_again(error: Exception, raised: type[CkptsyncError]) -> None:
    server = Server(error, OSError("never reached"))
    with pytest.raises(raised) as info:
        server.ask()
    assert (len(server.left), server.slept) == (1, [])
    assert info.value is error or info.value.__cause__ is error
