"""What the service answers, as values of ours; whatever does not make sense is an error or unknown, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core import names
from ...core.errors import ServiceError
from ..base import Allowance, SessionState, SessionStatus

_SECONDS = re.compile(r"(?P<seconds>[0-9]+(?:\.[0-9]+)?)s", re.ASCII)
_REF_VERSION = re.compile(r"\s+v(?P<version>[0-9]+)$", re.ASCII)
_REF = re.compile(r"^/?(?:code/)?(?P<owner>[^/\s]+)/(?P<slug>[^/\s]+?)/?(?:\s+v[0-9]+)?$", re.ASCII)
_WORDS = re.compile(r"[^A-Za-z]+")
# The words of a status without anything between, as the service writes them in more than one way
_STATES = {
    "queued": SessionState.QUEUED,
    "newscript": SessionState.QUEUED,
    "running": SessionState.RUNNING,
    "cancelrequested": SessionState.RUNNING,  # it still writes its outputs
    "complete": SessionState.COMPLETE,
    "error": SessionState.ERROR,
    "cancelacknowledged": SessionState.CANCELLED,
}
_TOO_LONG = re.compile(r"exceeded .*(?:execution )?duration|time ?limit", re.IGNORECASE)
_MAX_MESSAGE = 2000


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object of an answer; an empty one where there is none.

    Raises:
        ServiceError: there is something else.
    """
    if value is None or isinstance(value, dict):
        return value or {}
    raise ServiceError(f"Kaggle answered a {type(value).__name__} where an object belongs")


def items(value: Any) -> list[Any]:
    """Return a list of an answer; an empty one where there is none.

    Raises:
        ServiceError: there is something else.
    """
    if value is None or isinstance(value, list):
        return value or []
    raise ServiceError(f"Kaggle answered a {type(value).__name__} where a list belongs")


@dataclass(frozen=True)
class WorkerStatus:
    """The status of a run, in the service's words.

    Args:
        word: as it came.
        message: why it failed.
    """

    word: str
    message: str = ""

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> WorkerStatus:
        """Read an answer; one without a status is no QUEUED."""
        word, message = answer.get("status"), answer.get("failureMessage")
        return cls(word if isinstance(word, str) else "", message[:_MAX_MESSAGE] if isinstance(message, str) else "")

    def session_status(self) -> SessionStatus:
        """Return what that means for a session."""
        word = _WORDS.sub("", self.word.rpartition(".")[2]).lower()
        state = _STATES.get(word.removeprefix("kernelworkerstatus"), SessionState.UNKNOWN)
        if state is SessionState.UNKNOWN:
            said = names.printable(self.word) if self.word else "no status"
            return SessionStatus(state, f"Kaggle says {said}, which is not known")
        if state is SessionState.CANCELLED and _TOO_LONG.search(self.message):
            state = SessionState.TIMED_OUT
        return SessionStatus(state, self.message)


@dataclass(frozen=True)
class Pushed:
    """The answer to a push.

    Args:
        owner, slug: of the kernel that it became; empty when the answer does not say.
        version: its number; 0 when nothing was started.
        error: why not.
        invalid: sources that the run was started without.
    """

    owner: str
    slug: str
    version: int
    error: str = ""
    invalid: tuple[str, ...] = ()


def pushed(answer: Mapping[str, Any]) -> Pushed:
    """Read the answer to a push."""
    ref = answer.get("ref")
    match = _REF.match(ref) if isinstance(ref, str) else None
    number = answer.get("versionNumber")
    if not isinstance(number, int) and isinstance(ref, str) and (found := _REF_VERSION.search(ref)):
        number = int(found["version"])
    error = answer.get("error")
    return Pushed(
        owner=match["owner"] if match else "",
        slug=match["slug"] if match else "",
        version=number if isinstance(number, int) else 0,
        error=error[:_MAX_MESSAGE] if isinstance(error, str) else "",
        invalid=tuple(
            f"{kind} {names.printable(str(item))}"
            for kind in ("Dataset", "Competition", "Kernel", "Model")
            for item in items(answer.get(f"invalid{kind}Sources"))
        ),
    )


@dataclass(frozen=True)
class KernelVersion:
    """A version of a kernel.

    Args:
        number: its own.
        newest: the number of the kernel's newest version, where the answer says it.
        source: its script.
    """

    number: int
    newest: int
    source: bytes

    @classmethod
    def parse(cls, answer: Mapping[str, Any], asked: int | None) -> KernelVersion:
        """Read an answer.

        Raises:
            ServiceError: it names no version.
        """
        metadata, blob = mapping(answer.get("metadata")), mapping(answer.get("blob"))
        newest = metadata.get("currentVersionNumber")
        if asked is None and not isinstance(newest, int):
            raise ServiceError("Kaggle does not say which version of the kernel is the newest", transient=False)
        source = blob.get("source")
        text = source if isinstance(source, str) else ""
        number = asked if asked is not None else newest
        return cls(number or 0, newest if isinstance(newest, int) else 0, text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Address:
    """Where an output can be downloaded for some time."""

    path: str
    url: str = field(repr=False)  # its signature is a secret while it holds

    @classmethod
    def parse(cls, item: Any) -> Address:
        """Read one entry of a listing.

        Raises:
            ServiceError: it has no name or no address.
        """
        if isinstance(item, dict) and isinstance(item.get("fileName"), str) and isinstance(item.get("url"), str):
            return cls(item["fileName"], item["url"])
        raise ServiceError("Kaggle lists an output without a name or an address")


def allowances(answer: Mapping[str, Any]) -> tuple[Allowance, ...]:
    """Read the quota; what is not told is left out, and is no quota of zero."""
    renews = answer.get("quotaRefreshTime")
    found = []
    for kind in ("gpu", "tpu"):
        quota = mapping(answer.get(f"{kind}Quota"))
        if (allowed := seconds(quota.get("totalTimeAllowed"))) is None:
            continue
        used = (seconds(quota.get("timeUsed")) or 0.0) + (seconds(quota.get("timeReserved")) or 0.0)
        found.append(Allowance(kind, allowed, used, utc(renews) if isinstance(renews, str) else None))
    return tuple(found)


def seconds(value: Any) -> float | None:
    """Read a duration such as `108000s`."""
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    return float(match["seconds"]) if match else None


def utc(value: str) -> str | None:
    """Return a time of the service in our form, ISO 8601 UTC to the second; None where it is none."""
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.\d+)?(?:Z|\+00:00)?", value, re.ASCII)
    return f"{match[1]}T{match[2]}Z" if match else None
