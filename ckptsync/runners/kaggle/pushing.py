"""Start a session once, through a service that knows no idempotency.

Every push makes a version, and their numbers are the one order that all actors see. The script says which
submission it is, so after a push whose answer was lost the versions are looked through before anything is
pushed again. Where it still came to be pushed twice, the lowest version is the session. Where somebody else's
session came first, ours gives way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...core import names
from ...core.errors import CkptsyncError, ConfigError, LimitError, LockedError, ServiceError
from ...core.patience import Patience
from ..base import Submission
from ..bundle import MAX_SCRIPT_BYTES
from .answers import Pushed
from .client import KaggleClient
from .errors import push_refusal
from .inputs import Carried
from .looking import once
from .settings import KaggleSettings, title_of
from .versions import KernelVersions, Marked, marked_script, read_mark


class Push:
    """One submission on its way.

    Args:
        client: of the service.
        settings: how sessions are started.
        patience: how long a session is looked for whose push was not answered.
        submission: what is to be started.
        versions: of the run's kernel.
        newest: the newest version when the submission was looked for and not found.
        cancel: cancels a version's run, or raises that it cannot.

    Raises:
        LimitError: the script is too large.
        ConfigError: the script says that it is another session.
    """

    def __init__(
        self,
        client: KaggleClient,
        settings: KaggleSettings,
        patience: Patience,
        *,
        submission: Submission,
        versions: KernelVersions,
        newest: int,
        cancel: Callable[[int], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._patience = patience
        self._submission = submission
        self._versions = versions
        self._newest = newest
        self._cancel = cancel
        self._kernel = f"{versions.owner}/{versions.slug}"
        self._script = marked_script(submission)
        if len(self._script) > MAX_SCRIPT_BYTES:
            raise LimitError(
                f"the kernel script has {len(self._script):,} bytes, and Kaggle takes at most {MAX_SCRIPT_BYTES:,}",
                hint="move large files out of the kernel folder",
            )
        mark = read_mark(0, self._script)
        if mark is None or not mark.is_of(submission, None):
            raise ConfigError(f"the script of {submission.session} says that it is another session, or none")
        self._ours = mark

    def require_first(self) -> None:
        """Refuse to push behind a session that another actor has started meanwhile.

        Raises:
            LockedError: there is one; the message names it.
        """
        for version in self._versions.walk_back_to(self._ours.session, self._newest):
            if version.is_ahead_of(self._ours):
                raise self._lost(version)

    def start(self, carried: Carried) -> Marked:
        """Push, and return the version that is the session.

        Raises:
            LimitError: a quota or a number of sessions is reached.
            LockedError: another session came first; ours is cancelled as far as that is possible.
            ConfigError: the service made another kernel of it, or a source does not exist.
            ServiceError: no push was answered and none has appeared.
        """
        fields = self._fields(carried)

        def push() -> Pushed | Marked:
            return self._client.push(fields)

        answer = once(self._patience, push, self._appeared)
        if isinstance(answer, Marked):
            return self._settled(answer.number)
        self._require_accepted(answer)
        first = self._settled(answer.version)
        if answer.invalid:
            self._give_up(answer.version)
            raise ConfigError(
                f"Kaggle started version {answer.version} of {self._kernel} without {', '.join(answer.invalid)}",
                hint="correct these names in [runners.kaggle]; that session is cancelled where it could be reached",
            )
        return first

    def _fields(self, carried: Carried) -> dict[str, Any]:
        settings = self._settings
        fields: dict[str, Any] = {
            "slug": self._kernel,
            "new_title": title_of(self._versions.slug),
            "text": self._script.decode("utf-8"),
            "language": "python",
            "kernel_type": "script",
            "is_private": settings.private,
            "enable_gpu": settings.machine == "gpu",
            "enable_tpu": settings.machine == "tpu",
            "enable_internet": settings.internet,
            "dataset_data_sources": [*settings.datasets, *carried.datasets],
            "kernel_data_sources": [*settings.kernels, *carried.kernels],
            "competition_data_sources": list(settings.competitions),
            "model_data_sources": list(settings.models),
        }
        budget = self._submission.budget_seconds or settings.budget_seconds
        if budget is not None:
            fields["session_timeout_seconds"] = max(1, round(budget))
        if settings.machine_shape is not None:
            fields["machine_shape"] = settings.machine_shape
        if settings.docker_image is not None:
            fields["docker_image"] = settings.docker_image
        return fields

    def _appeared(self) -> Marked | None:
        """Look for a session that a push without an answer has started."""
        top = self._versions.newest()
        return self._versions.find(self._submission, self._ours, newest=top) if top > self._newest else None

    def _require_accepted(self, answer: Pushed) -> None:
        if answer.error:
            said = names.printable(self._client.web.redact(answer.error))[1:-1]
            raise push_refusal(self._kernel, said, renews_at=self._renews_at(said))
        if answer.version < 1:
            raise ServiceError(f"Kaggle answered the push of {self._kernel} without a version and without an error")
        made = f"{answer.owner}/{answer.slug}"
        if answer.slug and made.lower() != self._kernel.lower():
            raise ConfigError(
                f"Kaggle made the kernel {names.printable(made)} of what was pushed as {self._kernel}; a session runs "
                "there now",
                hint=f"cancel it at kaggle.com/code/{made}, and set 'kernel' of the run to {answer.slug}",
            )

    def _renews_at(self, message: str) -> str | None:
        kind = "tpu" if "tpu" in message.lower() else "gpu"
        try:
            return next((a.renews_at for a in self._client.quota() if a.kind == kind), None)
        except CkptsyncError:
            return None  # the refusal is what counts

    def _settled(self, number: int) -> Marked:
        """Return the version that is the session, after a look at what was pushed just before ours.

        Raises:
            LockedError: it is somebody else's; ours gives way.
        """
        first = replace(self._ours, number=number)
        lost: Marked | None = None
        for version in self._versions.walk(number - 1, down_to=self._newest + 1):
            if version.header == self._ours.header:
                first = version
            elif version.is_ahead_of(self._ours):
                lost = version
        if lost is not None and lost.number < first.number:
            self._give_up(number)
            raise self._lost(lost)
        if first.number != number:
            self._give_up(number)
        return first

    def _give_up(self, number: int) -> None:
        """Cancel a version's run where that is possible; else it is left, and is never taken for the session."""
        try:
            self._cancel(number)
        except CkptsyncError:
            return

    def _lost(self, other: Marked) -> LockedError:
        return LockedError(
            f"{other.session} (version {other.number} of {self._kernel}, generation {other.generation}) came before "
            f"{self._submission.session}",
            hint=f"ckptsync collect {other.run}",
        )
