"""How checkpoints get into a session: a private dataset with packs, or the output of the session before.

dataset   works always; costs an upload of the packs and the time until the service has processed them
output    costs nothing; only when the session before is the kernel's newest version and ended COMPLETE, because
          what is mounted of a kernel is its last complete run, which may be an older one
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core import names
from ...core.errors import ConfigError, LimitError, ServiceError
from ...core.pack import PACK_SUFFIX
from ...core.patience import Patience
from ..base import SessionState, Submission
from .client import KaggleClient
from .errors import ABSENT
from .looking import looks, once
from .settings import KaggleSettings, inputs_slug, title_of
from .upload import upload

MAX_FILES = 50
_READY = "READY"
_BROKEN = ("FAILED", "DELETED")
# How long a dataset must look the same: its status may still be that of the version before
SETTLE_SECONDS = 3.0
# How long a version that is ready may still list other files
_LISTING_LOOKS = 10


@dataclass(frozen=True)
class Carried:
    """Where a session finds its inputs.

    Args:
        datasets: `owner/slug` to mount.
        kernels: `owner/slug` to mount.
    """

    datasets: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()


def check_inputs(inputs: Mapping[str, Path]) -> None:
    """Refuse inputs that would not arrive as they are, before anything is sent.

    Raises:
        UnsafePathError: a name is no safe file name.
        LimitError: they are more than a dataset may hold.
    """
    for name in inputs:
        names.check_component(name, what="name of an input")
    if len(inputs) > MAX_FILES:
        raise LimitError(
            f"the session would be given {len(inputs)} files, and a dataset on Kaggle holds at most {MAX_FILES}",
            hint="use fewer scenarios in this run",
        )


class Carrier:
    """Brings the inputs of a submission to where its session finds them.

    Args:
        client: of the service.
        settings: which carrier, and how long to wait.
        patience: its waits; its time is the settings' own.
        settle_seconds: how long a dataset must look ready.
        tell: is given a line for people about what takes time.
    """

    def __init__(
        self,
        client: KaggleClient,
        settings: KaggleSettings,
        patience: Patience,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._patience = patience
        self._settle_seconds = settle_seconds
        self._tell = tell

    def bring(self, submission: Submission, owner: str, slug: str, newest: int) -> Carried:
        """Bring the inputs and wait until a session that starts now would find them.

        Args:
            submission: what is to be started.
            owner, slug: of the kernel.
            newest: its newest version.

        Raises:
            ConfigError: the configured carrier cannot carry them.
            ServiceError: the dataset failed, holds other files, or is not ready in time.
        """
        if not submission.inputs:
            return Carried()
        carrier = self._settings.carrier
        if carrier != "dataset" and any(map(_is_set, submission.inputs)):  # code alone is in nobody's output
            obstacle = self._obstacle(submission, owner, slug, newest)
            if not obstacle and submission.previous is not None:
                self._tell(
                    f"the checkpoints come from the output of {submission.previous.session}; nothing is uploaded"
                )
                other = {name: path for name, path in submission.inputs.items() if not _is_set(name)}
                datasets = (self._dataset(submission.session, other, owner, inputs_slug(slug)),) if other else ()
                return Carried(datasets, kernels=(f"{owner}/{slug}",))
            if carrier == "output":
                raise ConfigError(
                    f'carrier = "output" cannot bring the checkpoints of {submission.session}: {obstacle}',
                    hint='set carrier = "auto" in [runners.kaggle]: it uses a dataset then',
                )
        return Carried(datasets=(self._dataset(submission.session, submission.inputs, owner, inputs_slug(slug)),))

    def _obstacle(self, submission: Submission, owner: str, slug: str, newest: int) -> str:
        if submission.previous is None:
            return "no single session before holds them all"
        reference = submission.previous.reference
        if (reference.get("owner"), reference.get("slug")) != (owner, slug):
            return f"{submission.previous.session} ran in another kernel"
        if reference.get("version") != newest:
            return f"{submission.previous.session} is not the kernel's newest version"
        state = self._client.status(owner, slug, newest).session_status().state
        return "" if state is SessionState.COMPLETE else f"{submission.previous.session} is {state.value}, not complete"

    def _dataset(self, session: str, inputs: Mapping[str, Path], owner: str, slug: str) -> str:
        reference = f"{owner}/{slug}"
        try:
            before = self._client.dataset_version(owner, slug)
        except ABSENT:
            before = 0
        sizes = {name: path.stat().st_size for name, path in inputs.items()}
        self._tell(f"uploading {len(sizes)} file(s), {sum(sizes.values()):,} bytes, into the dataset {reference}")
        tokens = [upload(self._client, name, path) for name, path in inputs.items()]
        once(
            self._patience,
            lambda: self._create(owner, slug, session, tokens, new=not before),
            lambda: self._appeared(owner, slug, before),
        )
        self._tell(f"waiting until Kaggle has processed {reference}, at most {self._settings.dataset_seconds:g} s")
        self._wait(owner, slug, before, sizes)
        return reference

    def _create(self, owner: str, slug: str, notes: str, tokens: list[str], *, new: bool) -> bool:
        if new:
            complaint = self._client.create_dataset(owner, slug, title_of(slug), tokens)
        else:
            complaint = self._client.create_dataset_version(owner, slug, notes, tokens)
        if complaint:
            said = self._client.web.redact(complaint)[:300]
            raise ServiceError(
                f"Kaggle did not take the dataset {owner}/{slug}: {said}",
                transient=False,
                hint=f'look at kaggle.com/datasets/{owner}/{slug}, or set carrier = "output"',
            )
        return True

    def _appeared(self, owner: str, slug: str, before: int) -> bool | None:
        """Look for a version whose creation was not answered."""
        try:
            if self._client.dataset_version(owner, slug) > before:
                return True
            # The number may count a version only when it is ready
            return self._client.dataset_status(owner, slug) not in (_READY, *_BROKEN) or None
        except ABSENT:
            return None

    def _wait(self, owner: str, slug: str, before: int, sizes: Mapping[str, int]) -> None:
        reference = f"{owner}/{slug}"
        ready, failed, other = (_Steady(self._patience, self._settle_seconds) for _ in range(3))
        word = "nothing"
        for _ in looks(self._patience, self._settings.dataset_seconds):
            try:
                number = self._client.dataset_version(owner, slug)
                word = self._client.dataset_status(owner, slug)
                arrived = number > before and word == _READY
                listed = self._client.dataset_files(owner, slug, number) if arrived else {}
            except ABSENT:
                continue  # a new dataset is not known everywhere at once
            if ready.holds(arrived and listed == sizes):
                return
            if failed.holds(word in _BROKEN):
                raise ServiceError(
                    f"Kaggle could not process the dataset {reference}: {word}",
                    transient=False,
                    hint="run the same command again: it uploads a new version",
                )
            if other.holds(arrived and listed != sizes) and other.looks > _LISTING_LOOKS:
                raise ServiceError(
                    f"the dataset {reference} does not hold what was uploaded: expected {_listing(sizes)}, "
                    f"found {_listing(listed)}",
                    transient=False,
                    hint='Kaggle has changed the files; please report it, and set carrier = "output" meanwhile',
                )
        raise ServiceError(
            f"the dataset {reference} is not ready after {self._settings.dataset_seconds:g} s (Kaggle says {word})",
            hint="run the same command later, or set a longer dataset_wait in [runners.kaggle]",
        )


class _Steady:
    """Whether something was so at every look for some time: a single look may be of the version before."""

    def __init__(self, patience: Patience, seconds: float) -> None:
        self._patience = patience
        self._seconds = seconds
        self._since: float | None = None
        self.looks = 0

    def holds(self, now_so: bool) -> bool:
        """Take one look into account."""
        if not now_so:
            self._since, self.looks = None, 0
            return False
        now = self._patience.clock()
        self._since = now if self._since is None else self._since
        self.looks += 1
        return now - self._since >= self._seconds


def _is_set(name: str) -> bool:
    return names.parse_stem(name.removesuffix(PACK_SUFFIX)) is not None


def _listing(sizes: Mapping[str, int | None]) -> str:
    shown = [f"{names.printable(name)} ({size} bytes)" for name, size in sorted(sizes.items())]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "") or "nothing"
