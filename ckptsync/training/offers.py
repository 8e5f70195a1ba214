"""Search the inputs of a session for the sets that it was promised, and remember what was seen on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import names, pack
from ..core.errors import CkptsyncError
from ..core.session import SessionSpec
from .sources import Offer, OutputSource, PackSource, sources_in
from .stub import levels

# So many lines of each kind are enough to understand a wrong mount
_SHOWN = 20


@dataclass
class Offers:
    """What was found.

    Args:
        by_digest: digest of a manifest -> the set; the same one may be mounted at two places.
        damaged: what could not be used, and why.
        seen: other things that lie where something was expected.
        folders: where was looked.
    """

    by_digest: dict[str, Offer] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def report(self) -> Iterator[str]:
        """Say what was found instead, so that a wrong mount is understood from the log alone."""
        found = [
            f"{offer.manifest.stem} ({offer.manifest.digest}) in {offer.where}" for offer in self.by_digest.values()
        ]
        yield from _listed("found", found or ["no checkpoint at all"])
        yield from _listed("damaged", self.damaged)
        yield from _listed("not what was looked for", self.seen)
        yield from _listed("looked in", self.folders or ["nothing: the folder does not exist"])


def search(spec: SessionSpec, inputs: Path) -> Offers:
    """Search the inputs, level by level, until every promised head is found; only manifests are read."""
    offers = Offers()
    for level in levels(str(inputs)):
        offers.folders += [folder for folder, _ in level]
        found = [offer for folder, files in level for offer in _packed(Path(folder), files, offers)]
        for folder, files in level:
            for source in sources_in(Path(folder), files, spec.tree):
                found += _left(spec, source, offers)
        for offer in found:
            offers.by_digest.setdefault(offer.manifest.digest, offer)
        if all(origin.digest in offers.by_digest for origin in spec.heads.values()):
            break
    return offers


def _packed(folder: Path, files: Sequence[str], offers: Offers) -> Iterator[Offer]:
    for name in files:
        path = folder / name
        if not name.endswith(pack.PACK_SUFFIX) or name.startswith(pack.CODE_PREFIX):
            continue
        try:
            if pack.is_pack(path):
                yield PackSource(path).offer()
            else:
                offers.seen.append(f"{path} is no pack")  # somebody else's file
        except CkptsyncError as error:
            offers.damaged.append(error.message)


def _left(spec: SessionSpec, source: OutputSource, offers: Offers) -> list[Offer]:
    """Return the promised sets in the outputs of an earlier session; other versions and lineages are passed over."""
    found: list[Offer] = []
    for scenario, origin in spec.heads.items():
        try:
            offered = source.offers(scenario, origin.num_timesteps)
        except CkptsyncError as error:
            offers.damaged.append(f"{source.where}: {error.message}")
            continue
        if not offered:
            stem = names.checkpoint_stem(scenario, origin.num_timesteps)
            offers.seen.append(f"{source.where} holds no {stem} but {', '.join(source.stems()) or 'no checkpoint'}")
        elif offered[0].manifest.digest == origin.digest:
            found += offered
        else:
            other = offered[0].manifest
            offers.seen.append(f"{other.stem} in {source.where} is another one ({other.digest})")
    return found


def _listed(what: str, lines: Sequence[str]) -> Iterator[str]:
    for line in itertools.islice(lines, _SHOWN):
        yield f"  {what}: {line if line.isprintable() else names.printable(line)}"
    if len(lines) > _SHOWN:
        yield f"  {what}: {len(lines) - _SHOWN} more"
