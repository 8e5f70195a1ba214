"""Where a set may come from: a pack, or the outputs of an earlier session as a service mounts them.

Only what a promised manifest names is read, by its own checked name, and every byte is checked against it. So it
does not matter what else lies in a mount or an archive, or what its names are.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from ..core import fsio, jsonio, names, pack, sets
from ..core.errors import CorruptError, NothingFoundError, UnsafePathError
from ..core.heads import MAX_HEAD_BYTES, Best, Head
from ..core.layout import TrainingTree
from ..core.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, ManifestError

# Services put outputs of many files into one archive of this name
ARCHIVE_NAME = "_output_.zip"
_STEMS_SHOWN = 5
# What a damaged archive, or one of a kind that is not read here, may raise
_ARCHIVE_FAULTS = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError)


class Source(ABC):
    """A place that sealed sets can be brought from."""

    @abstractmethod
    def bring(self, offer: Offer, folder: Path, held: Collection[FileEntry]) -> None:
        """Bring a set's files and its manifest into a new folder; each has its digest then.

        Args:
            offer: the set.
            folder: is created.
            held: segments that were brought before and need not come again.

        Raises:
            CorruptError: a file is missing or damaged.
        """


@dataclass(frozen=True)
class Offer:
    """A sealed set among the inputs, of which only the manifest was read.

    Args:
        manifest: its manifest.
        seal: the manifest's bytes.
        source: where the rest lies.
        where: what people call that place.
    """

    manifest: Manifest
    seal: bytes
    source: Source
    where: str


class PackSource(Source):
    """A pack, which carries one set; segments that the pack of another set carries may be missing in it.

    Args:
        path: the pack.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def offer(self) -> Offer:
        """Return the set in it.

        Raises:
            CorruptError: the pack is damaged, or holds anything else than one sealed set.
        """
        path = self._path
        index = pack.read_index(path)
        seals = [member.name for member in index.members if member.name.endswith(names.MANIFEST_SUFFIX)]
        if len(seals) != 1:
            raise CorruptError(f"{path} must hold one manifest, found {len(seals)}")
        seal = pack.read_member(path, index, seals[0], limit=MAX_MANIFEST_BYTES)
        try:
            manifest = sets.parse_manifest(seal, seals[0])
        except ManifestError as error:
            raise CorruptError(f"{path}: {error}", hint="launch the session again") from None
        promised = {(entry.path, entry.size_bytes, entry.digest) for entry in manifest.files}
        held = {(m.name, m.size_bytes, m.digest) for m in index.members if m.name != seals[0]}
        elsewhere = {(entry.path, entry.size_bytes, entry.digest) for entry in manifest.segments} - held
        if promised != held | elsewhere:
            differing = ", ".join(sorted({names.printable(name) for name, _, _ in promised ^ (held | elsewhere)}))
            raise CorruptError(f"{path} holds other files than its manifest names: {differing}")
        return Offer(manifest, seal, self, str(path))

    def bring(self, offer: Offer, folder: Path, held: Collection[FileEntry]) -> None:
        """Bring a set as `Source` says."""
        pack.unpack(self._path, folder)


class OutputSource(Source):
    """The outputs of an earlier session, mounted as they were left.

    Args:
        checkpoints: the folder of sets in them.
    """

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self.where = str(checkpoints)

    def offers(self, scenario: str, num_timesteps: int) -> list[Offer]:
        """Return the set of a scenario at one N if it is there, and the best one by the word of its head file.

        Raises:
            ManifestError: a manifest is damaged.
        """
        head = self._offer(names.checkpoint_stem(scenario, num_timesteps))
        if head is None:
            return []
        best = self._best(scenario)
        stored = self._offer(best.stem) if best is not None and best.stem != head.manifest.stem else None
        return [head, stored] if stored is not None and best and stored.manifest.digest == best.digest else [head]

    def stems(self) -> list[str]:
        """Return the stems of some sets that are there, for people."""
        sealed = (name for name in self._names() if name.endswith(names.MANIFEST_SUFFIX))
        return [name.removesuffix(names.MANIFEST_SUFFIX) for name in itertools.islice(sealed, _STEMS_SHOWN)]

    def bring(self, offer: Offer, folder: Path, held: Collection[FileEntry]) -> None:
        """Bring a set as `Source` says."""
        fsio.make_folder(folder)
        for entry in offer.manifest.files:
            if entry not in held:
                target = fsio.safe_join(folder, entry.path)
                fsio.make_folder(target.parent)
                self._copy(entry, target)
        fsio.write_bytes(folder / (offer.manifest.stem + names.MANIFEST_SUFFIX), offer.seal)

    def _offer(self, stem: str) -> Offer | None:
        name = stem + names.MANIFEST_SUFFIX
        seal = self._read(name, MAX_MANIFEST_BYTES)
        return Offer(sets.parse_manifest(seal, name), seal, self, self.where) if seal is not None else None

    def _best(self, scenario: str) -> Best | None:
        data = self._read(names.head_name(scenario), MAX_HEAD_BYTES)
        try:
            return Head.from_json(jsonio.parse(data)).best if data is not None else None
        except ValueError:
            return None  # training goes on from the head without it

    def _read(self, name: str, limit: int) -> bytes | None:
        data = b""
        try:
            for chunk in self._chunks(name):
                data += chunk
                if len(data) > limit:
                    raise CorruptError(f"{name} in {self.where} is larger than {limit} bytes, no size for such a file")
        except NothingFoundError:
            return None
        return data

    def _copy(self, entry: FileEntry, target: Path) -> None:
        def write(file: BinaryIO) -> None:
            hasher, copied = hashlib.sha256(), 0
            for chunk in self._chunks(entry.path):
                hasher.update(chunk)
                file.write(chunk)
                copied += len(chunk)
                if copied > entry.size_bytes:
                    break
            found = "sha256:" + hasher.hexdigest()
            if (copied, found) != (entry.size_bytes, entry.digest):
                raise CorruptError(
                    f"{entry.path} in {self.where} is damaged: expected {entry.size_bytes} bytes with {entry.digest}, "
                    f"found {copied} with {found}",
                    hint="launch the session again",
                )

        try:
            fsio.write_file(target, write)
        except NothingFoundError:
            raise CorruptError(
                f"{self.where} lacks {entry.path}, which its manifest names", hint="launch the session again"
            ) from None

    def _names(self) -> Iterable[str]:
        return fsio.list_names(self._checkpoints)

    def _chunks(self, name: str) -> Iterator[bytes]:
        """Read a file of the sets piece by piece; raises NothingFoundError when it is not there."""
        path = fsio.safe_join(self._checkpoints, name)
        try:
            yield from fsio.chunks(path)
        except (NothingFoundError, UnsafePathError):
            unpacked = next((folder for folder in (path, path.with_suffix("")) if folder.is_dir()), None)
            if unpacked is None or path.suffix != names.MODEL_SUFFIX:
                raise
            raise CorruptError(
                f"{path} was unpacked on its way here, into the folder {unpacked.name}: its bytes cannot be checked "
                "any more, so it is not used",
                hint='set carrier = "dataset" for this run: checkpoints travel as packs then, which nobody unpacks',
            ) from None


class ArchiveSource(OutputSource):
    """The outputs of an earlier session in one archive.

    Args:
        archive: the archive.
        tree: the training tree in it.
    """

    def __init__(self, archive: Path, tree: str) -> None:
        super().__init__(TrainingTree(Path(tree)).checkpoints)
        self._path = archive
        self.where = f"{archive}, {self._checkpoints.as_posix()}"

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        # Python's reader takes what any writer makes: no name in there becomes a path, and sizes and digests are known
        return zipfile.ZipFile(self._path)

    def _names(self) -> Iterable[str]:
        prefix = f"{self._checkpoints.as_posix()}/"
        return (name.removeprefix(prefix) for name in self._archive.namelist() if name.startswith(prefix))

    def _chunks(self, name: str) -> Iterator[bytes]:
        member_name = (self._checkpoints / name).as_posix()
        try:
            with self._archive.open(member_name) as member:
                while chunk := member.read(fsio.CHUNK):
                    yield chunk
        except KeyError:
            raise NothingFoundError(f"{self._path} holds no {member_name}") from None
        except _ARCHIVE_FAULTS as error:
            raise CorruptError(f"{self._path} is damaged: {error}", hint="launch the session again") from None


def sources_in(folder: Path, files: Sequence[str], tree: str) -> list[OutputSource]:
    """Return what lies in a folder as the outputs of a session would.

    Args:
        folder: the folder.
        files: the names of the files in it.
        tree: the training tree, relative to a session's working folder.
    """
    checkpoints = TrainingTree(folder / tree).checkpoints
    found: list[OutputSource] = [OutputSource(checkpoints)] if checkpoints.is_dir() else []
    return found + [ArchiveSource(folder / name, tree) for name in files if name == ARCHIVE_NAME]
