"""What a session left: addresses from one call of the service, sizes from another, joined when both agree.

A listing may still grow after a session has ended, so one is believed when two looks, some time apart, see the
same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...core import names
from ...core.errors import CorruptError, LimitError, ServiceError
from ...core.patience import Patience
from ..base import OutputFile
from .client import KaggleClient
from .looking import looks
from .web import AnswerTooLargeError

MAX_OUTPUTS = 100_000
# Between the two looks
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Listing:
    """The outputs of a version's run.

    Args:
        sizes: name -> size, where the service tells it; foreign text.
        addresses: name -> where it can be downloaded; empty where each has to be asked for.
    """

    sizes: Mapping[str, int | None]
    addresses: Mapping[str, str] = field(repr=False)

    @property
    def files(self) -> list[OutputFile]:
        """The outputs in order."""
        return [OutputFile(name, size) for name, size in sorted(self.sizes.items())]


class Lister:
    """Lists outputs.

    Args:
        client: of the service.
        patience: its pauses, and how long a listing may take to settle.
        settle_seconds: how long it must stay the same.
    """

    def __init__(self, client: KaggleClient, patience: Patience, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._client = client
        self._patience = patience
        self._settle_seconds = settle_seconds

    def settled(self, owner: str, slug: str, version: int) -> Listing:
        """Return the listing of a session that has ended.

        Raises:
            CorruptError: one name stands for two files.
            LimitError: there are too many files.
            ServiceError: the two calls do not come to agree; some outputs may still be on their way.
        """
        only: tuple[set[str], set[str]] = set(), set()
        for _ in looks(self._patience):
            sizes = self._sizes(owner, slug, version)
            self._patience.sleep(self._settle_seconds)
            try:
                addresses = self.addresses(owner, slug, version)
            except AnswerTooLargeError:  # the listing carries the whole log; without it each address is asked for
                if sizes == self._sizes(owner, slug, version):
                    return Listing(sizes, {})
                continue
            if sizes.keys() == addresses.keys():
                return Listing(sizes, addresses)
            only = set(sizes) - set(addresses), set(addresses) - set(sizes)
        raise ServiceError(
            f"Kaggle's two listings of {owner}/{slug} version {version} do not agree: "
            f"{_some(only[0])} without an address, {_some(only[1])} without a size",
            hint="run 'ckptsync fetch' again later",
        )

    def _sizes(self, owner: str, slug: str, version: int) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for name, size in self._client.output_sizes(owner, slug, version):
            if found.setdefault(name, size) != size:
                raise CorruptError(f"Kaggle lists {names.printable(name)} twice, with {found[name]} and {size} bytes")
            _require_few(found)
        return found

    def addresses(self, owner: str, slug: str, version: int) -> dict[str, str]:
        """Return name -> address of every output, signed anew.

        Raises:
            LimitError: there are too many files.
        """
        found: dict[str, str] = {}
        for page, _log in self._client.output_pages(owner, slug, version):
            found.update((address.path, address.url) for address in page)
            _require_few(found)
        return found


def _require_few(found: Mapping[str, object]) -> None:
    if len(found) > MAX_OUTPUTS:
        raise LimitError(
            f"the session left more than {MAX_OUTPUTS:,} files",
            hint="let the script pack many small files into few large ones",
        )


def _some(found: Iterable[str]) -> str:
    shown = [names.printable(name) for name in sorted(found)]
    return (", ".join(shown[:3]) + (f" and {len(shown) - 3:,} more" if len(shown) > 3 else "")) or "none"
