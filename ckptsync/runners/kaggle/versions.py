"""Which session a version of a kernel is: read from its script, walking back from the newest.

A version never changes, so what was read of one is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...core import jsonio, names
from ...core.errors import CkptsyncError, ConfigError, CredentialsError, ServiceError
from ...core.session import SessionSpec
from ..base import Submission
from ..bundle import read_spec
from .client import KaggleClient
from .errors import ABSENT
from .looking import looks

# Versions that are looked at in one walk; each is a script of up to 1 MB
MAX_WALK = 60
# A push that got stuck may appear behind later ones, so one older version does not end a search
_OLDER_ENOUGH = 3
# How many of the newest versions may not be known by their number yet
_RECENT = 3
# A version that does not exist, also when others push just now
_FAR = 1_000_000
_HEADER = b"# ckptsync-submission: "


@dataclass(frozen=True)
class Marked:
    """A version that carries a session.

    Args:
        number: the version.
        session: the session's id.
        generation: its generation.
        lineage: its lineage; None: its script is no bundle.
        header: the line that says all this; two pushes of one submission have equal ones.
        spec: what a bundle tells its session.
    """

    number: int
    session: str
    generation: int
    lineage: str | None
    header: bytes
    spec: SessionSpec | None

    @property
    def run(self) -> str:
        """The run that it belongs to."""
        return names.parse_session_id(self.session)[0]

    @property
    def place(self) -> int:
        """The session's number in its run."""
        return names.parse_session_id(self.session)[1]

    def is_of(self, submission: Submission, mark: Marked | None) -> bool:
        """Tell whether it is this submission; `mark` is what the submission's own script says, if it has one."""
        same = self.session == submission.session and self.generation == submission.generation
        return same and (mark is None or self.lineage == mark.lineage)

    def is_ahead_of(self, ours: Marked) -> bool:
        """Tell whether somebody else's session took the place that ours wanted, or a later one."""
        if self.run != ours.run:
            return False
        later = self.lineage == ours.lineage and self.generation >= ours.generation
        return self.place >= ours.place or (later and ours.lineage is not None)


def marked_script(submission: Submission) -> bytes:
    """Return the script with a first line that says which submission it is: a bundle has one already."""
    if not submission.script or read_spec(submission.script) is not None:
        return submission.script
    said = {"generation": submission.generation, "session": submission.session}
    return _HEADER + jsonio.canonical(said) + b"\n" + submission.script


def read_mark(number: int, source: bytes) -> Marked | None:
    """Return which session a script is, or None where it is none of ours; nothing of it is executed."""
    line = source.split(b"\n", 1)[0].rstrip(b"\r")
    spec = read_spec(source)
    if spec is not None:
        return Marked(number, spec.session, spec.generation, spec.lineage, line, spec)
    if not line.startswith(_HEADER):
        return None
    try:
        said: Any = jsonio.parse(line.removeprefix(_HEADER))
        names.parse_session_id(said["session"])
        return Marked(number, said["session"], int(said["generation"]), None, line, None)
    except (ValueError, KeyError, TypeError, CkptsyncError):
        return None


class KernelVersions:
    """The versions of one kernel.

    Args:
        client: of the service.
        owner: of the kernel.
        slug: of the kernel.
    """

    def __init__(self, client: KaggleClient, owner: str, slug: str) -> None:
        self._client = client
        self.owner = owner
        self.slug = slug
        self._known: dict[int, Marked | None] = {}
        self._waits = True
        self._numbers_count = False
        self._lock = threading.Lock()

    def newest(self) -> int:
        """Return the number of the newest version; 0 when the kernel does not exist.

        Raises:
            CredentialsError: it exists and we may not read it.
        """
        try:
            found = self._client.kernel(self.owner, self.slug)
        except ABSENT as error:
            self._require_absent(error)
            return 0
        with self._lock:
            self._known[found.number] = read_mark(found.number, found.source)
        return found.number

    def _require_absent(self, error: CkptsyncError) -> None:
        # For a kernel that does not exist the service says 403, and for wrong credentials too: asked for our own
        # kernels, it gives them to whom it knows
        listed = self._client.own_kernels(self.slug)
        if f"{self.owner}/{self.slug}".lower() in (ref.removeprefix("/code/").lower() for ref in listed):
            raise error
        if self.owner.lower() != self._client.username.lower():
            raise CredentialsError(
                f"{self.owner}/{self.slug} does not exist, or user {self._client.username} may not see it",
                hint="set 'owner' in [runners.kaggle] to your own name",
            )

    def mark(self, number: int, *, recent: bool = False) -> Marked | None:
        """Return which session a version is, or None where it is none of ours or is gone.

        Args:
            number: the version.
            recent: it may have been pushed just now, and then the service may not know it by its number yet:
                who overlooked it would push a second time.
        """
        with self._lock:
            if number in self._known:
                return self._known[number]
        for _ in looks(self._client.patience) if recent and self._waits else (0,):
            try:
                found = read_mark(number, self._client.kernel(self.owner, self.slug, number).source)
            except ABSENT:
                continue
            with self._lock:
                self._known[number] = found
            return found
        self._waits = not recent  # it does not know versions at all, or somebody has removed this one
        return None

    def walk(self, newest: int | None = None, *, down_to: int = 1) -> Iterator[Marked]:
        """Yield the sessions, newest version first, as far as a walk goes.

        Args:
            newest: where to begin; None: at the newest.
            down_to: the last version that is looked at.

        Raises:
            ServiceError: the service does not tell versions apart.
        """
        top = self.newest() if newest is None else newest
        before: Marked | None = None
        for number in range(top, max(down_to, top - MAX_WALK + 1, 1) - 1, -1):
            found = self.mark(number, recent=number > top - _RECENT)
            if found is None:
                continue
            if before is not None and found.header == before.header:
                self._require_numbers(top)
            before = found
            yield found

    def _require_numbers(self, top: int) -> None:
        # Two versions with one session are a double, or a service that gives its newest version for every number
        if self._numbers_count:
            return
        try:
            self._client.kernel(self.owner, self.slug, top + _FAR)
        except ABSENT:
            self._numbers_count = True
            return
        raise ServiceError(
            f"Kaggle gives the same script for every version of {self.owner}/{self.slug}, so its sessions cannot be "
            "told apart",
            transient=False,
            hint="please report it: the service has changed",
        )

    def walk_back_to(self, session: str, newest: int | None = None) -> Iterator[Marked]:
        """Yield versions, newest first, until what lies further back is surely older than a session."""
        run, place = names.parse_session_id(session)
        older = 0
        for version in self.walk(newest):
            yield version
            older += version.run == run and version.place < place
            if older >= _OLDER_ENOUGH:
                return

    def find(self, submission: Submission, mark: Marked | None, *, newest: int | None = None) -> Marked | None:
        """Return the version that is a submission: the lowest where it was pushed more than once."""
        found = None
        for version in self.walk_back_to(submission.session, newest):
            if version.is_of(submission, mark):
                found = version
        return found

    def require_ours(self, newest: int) -> None:
        """Refuse a kernel that is something else: a push would hide what it holds.

        Raises:
            ConfigError: none of its last versions is a session.
        """
        if newest and next(self.walk(newest, down_to=max(1, newest - 9)), None) is None:
            raise ConfigError(
                f"the kernel {self.owner}/{self.slug} exists already and holds no session of ckptsync",
                hint='give the run another one: kernel = "..." in its table [runs.<name>.kaggle]',
            )
