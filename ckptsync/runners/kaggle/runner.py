"""KaggleRunner: sessions as versions of one kernel per run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ...core import names
from ...core.errors import CkptsyncError, ConfigError, NothingFoundError, ServiceError
from ...core.patience import Patience
from ..base import Discovered, Limits, OutputFile, SessionHandle, SessionState, SessionStatus, Submission
from .allowances import limits, require_quota
from .client import KaggleClient
from .download import Downloads, not_listed
from .errors import ABSENT
from .inputs import SETTLE_SECONDS as DATASET_SETTLE_SECONDS
from .inputs import Carrier, check_inputs
from .listing import SETTLE_SECONDS as LISTING_SETTLE_SECONDS
from .listing import Lister, Listing
from .log import IDLE_SECONDS, Logs
from .looking import looks
from .pushing import Push
from .settings import KaggleSettings, check_owner
from .versions import KernelVersions, Marked, marked_script, read_mark

# How long the outputs of a session that has ended may take to be listed at all
_EMPTY_SECONDS = 10.0
# What `boot` prints first; the service itself does not tell the id that cancelling needs
CONTAINER_LINE = re.compile(rb"^\[CKPTSYNC\] container session (?P<id>[0-9]{1,18})\r?$", re.MULTILINE)


@dataclass(frozen=True)
class _Place:
    """What a handle's reference says: which version of which kernel."""

    owner: str
    slug: str
    version: int


class KaggleRunner:
    """Runs sessions on Kaggle.

    Args:
        settings: what is configured.
        client: of the service; None: the one that the environment names, with the settings' patience.
        patience: for what is tried again; None: the client's.
        dataset_settle_seconds: how long a dataset must look ready.
        listing_settle_seconds: how long a listing must stay the same.
        log_idle_seconds: how long a live log may be silent until it is taken for all there is.
    """

    name = "kaggle"

    def __init__(
        self,
        settings: KaggleSettings | None = None,
        *,
        client: KaggleClient | None = None,
        patience: Patience | None = None,
        dataset_settle_seconds: float = DATASET_SETTLE_SECONDS,
        listing_settle_seconds: float = LISTING_SETTLE_SECONDS,
        log_idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._settings = settings or KaggleSettings()
        self.tell: Callable[[str], object] = lambda line: None
        given = patience or Patience(self._settings.patience_seconds, tell=self._tell_failure)
        self._client = client or KaggleClient(timeout=self._settings.timeout_seconds, patience=given)
        self._patience = patience or self._client.patience
        self._carrier = Carrier(
            self._client,
            self._settings,
            self._patience,
            settle_seconds=dataset_settle_seconds,
            tell=lambda line: self.tell(line),
        )
        self._lister = Lister(self._client, self._patience, settle_seconds=listing_settle_seconds)
        self._logs = Logs(self._client, self._patience, idle_seconds=log_idle_seconds)
        self._kernels: dict[str, KernelVersions] = {}
        self._listings: dict[_Place, Listing] = {}
        self._lock = threading.Lock()

    def _tell_failure(self, error: CkptsyncError) -> None:
        self.tell(f"{error.message}; asking again for {self._settings.patience_seconds:g} s")

    # --- starting

    def find(self, submission: Submission) -> SessionHandle | None:
        """Return the handle of this very submission if the service knows it.

        A submission with its script is told apart from one of another lineage, too.
        """
        versions = self._versions(names.parse_session_id(submission.session)[0])
        found = versions.find(submission, _own_mark(submission))
        return self._handle(versions, found) if found is not None else None

    def start(self, submission: Submission) -> SessionHandle:
        """Start a session and return when the service has taken it; one that was started already is found.

        Raises:
            UnsafePathError: an input's name is no safe file name.
            LimitError: a quota or limit is reached.
            LockedError: another actor's session came first.
            ConfigError, CredentialsError, ServiceError: the service refuses it, or does not answer.
        """
        check_inputs(submission.inputs)
        versions = self._versions(names.parse_session_id(submission.session)[0])
        newest = versions.newest()
        found = versions.find(submission, _own_mark(submission), newest=newest)
        if found is not None:
            return self._handle(versions, found)
        versions.require_ours(newest)
        push = Push(
            self._client,
            self._settings,
            self._patience,
            submission=submission,
            versions=versions,
            newest=newest,
            cancel=lambda number: self._cancel_version(versions, number),
        )
        push.require_first()
        require_quota(self._client, self._settings)
        carried = self._carrier.bring(submission, versions.owner, versions.slug, newest)
        return self._handle(versions, push.start(carried))

    def _versions(self, run: str) -> KernelVersions:
        owner = self._settings.owner or self._client.username
        try:
            check_owner(owner)
        except ValueError as error:
            raise ConfigError(str(error), hint="set 'owner' in [runners.kaggle]") from None
        slug = self._settings.kernel_slug(run)
        with self._lock:
            return self._kernels.setdefault(slug, KernelVersions(self._client, owner, slug))

    def _handle(self, versions: KernelVersions, found: Marked) -> SessionHandle:
        reference = {
            "owner": versions.owner,
            "slug": versions.slug,
            "version": found.number,
            "generation": found.generation,
            "lineage": found.lineage,
            "address": f"kaggle.com/code/{versions.owner}/{versions.slug}",
        }
        return SessionHandle(found.session, self.name, reference)

    # --- while it runs

    def status(self, handle: SessionHandle) -> SessionStatus:
        """Say what the session is doing; always of its own version, never of another run of the kernel."""
        place = _place(handle)
        try:
            return self._client.status(place.owner, place.slug, place.version).session_status()
        except ABSENT:
            return self._status_of_newest(place)

    def _status_of_newest(self, place: _Place) -> SessionStatus:
        # The service does not know the version by its number, not yet or not at all; without one it speaks of the
        # newest run, and just after a push even of the one before
        newest = KernelVersions(self._client, place.owner, place.slug).newest()
        where = f"version {place.version} of {place.owner}/{place.slug}"
        if newest == 0:
            raise _unknown(f"as {where}")
        if newest != place.version:
            message = f"Kaggle does not know {where}; version {newest} is the newest"
            return SessionStatus(SessionState.UNKNOWN, message)
        status = self._client.status(place.owner, place.slug, None).session_status()
        for _ in looks(self._patience) if status.state.finished else ():
            try:
                return self._client.status(place.owner, place.slug, place.version).session_status()
            except ABSENT:
                status = self._client.status(place.owner, place.slug, None).session_status()
        return replace(status, message=f"{status.message} (of the newest version; Kaggle refuses its number)".strip())

    def cancel(self, handle: SessionHandle) -> None:
        """Ask the session to stop; nothing happens when it has ended.

        Raises:
            ServiceError: its log does not name the id that the service wants for it, or not yet.
        """
        if self.status(handle).state.finished:
            return
        place = _place(handle)
        address = f"kaggle.com/code/{place.owner}/{place.slug}"
        head = self._logs.read(place.owner, place.slug, place.version)
        if (match := CONTAINER_LINE.search(head)) is None:
            raise ServiceError(
                f"{handle.session} cannot be cancelled from here: its log does not show its container session",
                hint=f"try again when it prints something, or cancel it at {address}; it also ends at its own budget",
            )
        try:
            self._client.cancel(int(match["id"]))
        except CkptsyncError:
            if not self.status(handle).state.finished:  # else it ended just now
                raise

    def _cancel_version(self, versions: KernelVersions, number: int) -> None:
        handle = SessionHandle("", self.name, {"owner": versions.owner, "slug": versions.slug, "version": number})
        for _ in looks(self._patience):
            try:
                self.cancel(handle)
                return
            except CkptsyncError as error:
                if not error.transient:
                    raise

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        """Return what the session has printed from a byte offset on; at most 16 MB, ask again from behind them."""
        place = _place(handle)
        return self._logs.read(place.owner, place.slug, place.version, offset)

    def follow(self, handle: SessionHandle, offset: int = 0) -> Iterator[bytes]:
        """Stream the log from a byte offset on, until the session has ended or the stream breaks."""
        place = _place(handle)
        return self._logs.follow(place.owner, place.slug, place.version, offset)

    # --- what it left

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        """List every file that the session left, as the service names it; of a running one, nothing yet.

        An empty listing of a session that has ended is looked at for some seconds more, for it may come late.
        """
        place = _place(handle)
        for look in looks(self._patience, min(_EMPTY_SECONDS, self._patience.seconds)):
            listing = self._renewed(place, None)
            if listing.sizes or (look == 0 and not self.status(handle).state.finished):
                break
        return listing.files

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one output file from a byte offset on, in chunks of at most 1 MB; safe from many threads at once.

        Raises:
            NothingFoundError: there is no such file.
            CorruptError: it has more bytes than were listed.
            ServiceError: it did not come within the patience.
        """
        place = _place(handle)

        def address(path: str, broken: str | None) -> str:
            return self._address(place, path, broken)

        return Downloads(self._client.web, self._patience, address).read(file, offset)

    def _address(self, place: _Place, path: str, broken: str | None) -> str:
        listing = self._listings.get(place) or self._renewed(place, None)
        if path not in listing.sizes:
            raise not_listed(path)
        if listing.addresses and listing.addresses[path] == broken:
            listing = self._renewed(place, listing)
        if url := listing.addresses.get(path):
            return url
        if listing.addresses:
            raise not_listed(path)
        return self._client.output_address(place.owner, place.slug, place.version, path)

    def _renewed(self, place: _Place, stale: Listing | None) -> Listing:
        """List anew, once for all threads whose addresses expired together."""
        with self._lock:
            known = self._listings.get(place)
            if stale is not None and known is not None and known is not stale:
                return known
            if stale is None or known is None:
                found = self._lister.settled(place.owner, place.slug, place.version)
            else:
                found = replace(stale, addresses=self._lister.addresses(place.owner, place.slug, place.version))
            self._listings[place] = found
            return found

    # --- what the service knows

    def discover(self, run: str, *, limit: int = 20) -> list[Discovered]:
        """Return the newest sessions of a run that the service knows, newest first."""
        versions = self._versions(run)
        found: dict[tuple[str, int, str | None], Marked] = {}
        for version in versions.walk():
            if version.spec is None or version.run != run:
                continue
            submission = (version.session, version.generation, version.lineage)
            if submission not in found and len(found) >= limit:
                break
            found[submission] = version  # the walk goes down, so of doubles the lowest stays
        return [
            Discovered(self._handle(versions, version), version.spec)
            for version in found.values()
            if version.spec is not None
        ]

    def limits(self) -> Limits:
        """Say what the service allows now."""
        return limits(self._client, self._settings)


def _own_mark(submission: Submission) -> Marked | None:
    return read_mark(0, marked_script(submission)) if submission.script else None


def _place(handle: SessionHandle) -> _Place:
    reference: Mapping[str, object] = handle.reference
    owner, slug, version = reference.get("owner"), reference.get("slug"), reference.get("version")
    if not (isinstance(owner, str) and isinstance(slug, str) and isinstance(version, int)):
        raise _unknown(handle.session)
    return _Place(owner, slug, version)


def _unknown(what: str) -> NothingFoundError:
    return NothingFoundError(f"Kaggle knows no session {what}", hint="ckptsync status")
