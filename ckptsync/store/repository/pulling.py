"""Pulling versions: their bytes are put together again, each file is checked, the manifest comes last.

What is there already and agrees is not asked for again, a large file that was cut short goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...core import fsio, names
from ...core.errors import CorruptError
from ...core.manifest import Manifest
from .keys import VersionKey, object_key
from .reading import Reader
from .repository import Repository
from .versions import StoredFile, Version

_LARGE_BYTES = 1 << 20

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Pulled:
    """What became of a pull.

    Args:
        manifest: of the set, which lies in the folder now.
        received_bytes: bytes of files that were received.
        skipped: files that were there already.
    """

    manifest: Manifest
    received_bytes: int
    skipped: tuple[str, ...]


def pull_set(
    repository: Repository,
    key: VersionKey,
    folder: Path,
    *,
    stored: Version | None = None,
    progress: Progress = lambda received: None,
) -> Pulled:
    """Bring a version into a folder, as a sealed set.

    The folder is ckptsync's own, such as one of staging: files lie there without a seal until the last one is whole.

    Args:
        repository: where from.
        key: the version.
        folder: where to; made when it is not there.
        stored: the version, where it was read already.
        progress: told how many bytes more are done.

    Raises:
        NothingFoundError: there is no such version, or an object that it needs is gone.
        CorruptError: the version or an object is damaged; the set stays without a seal.
    """
    version = repository.read(key) if stored is None else stored
    fsio.make_folder(folder)
    for parent in {fsio.safe_join(folder, file.entry.path).parent for file in version.files}:
        fsio.make_folder(parent)
    wanted = [file for file in version.files if not _is_there(folder, file)]
    skipped = tuple(file.entry.path for file in version.files if file not in wanted)
    progress(sum(file.entry.size_bytes for file in version.files if file not in wanted))
    with ThreadPoolExecutor(repository.workers, thread_name_prefix="ckptsync-pull") as pool:
        reader = Reader(repository.store, pool, repository.workers)
        _receive_small([file for file in wanted if file.entry.size_bytes < _LARGE_BYTES], folder, reader, progress)
        for file in wanted:
            if file.entry.size_bytes >= _LARGE_BYTES:
                _receive_large(file, folder, reader, progress)
    for parent in {fsio.safe_join(folder, file.entry.path).parent for file in wanted}:
        fsio.sync_folder(parent)
    fsio.write_bytes(folder / (version.manifest.stem + names.MANIFEST_SUFFIX), version.seal)
    return Pulled(version.manifest, sum(file.entry.size_bytes for file in wanted), skipped)


def _is_there(folder: Path, file: StoredFile) -> bool:
    path = fsio.safe_join(folder, file.entry.path)
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.entry.size_bytes:
        return False
    return fsio.sha256_file(path) == file.entry.digest


def _receive_small(files: Sequence[StoredFile], folder: Path, reader: Reader, progress: Progress) -> None:
    """Receive files that share objects: what lies together is read together."""
    stream = reader.stream([piece for file in files for piece in file.pieces])
    held, position = memoryview(b""), 0
    for file in files:
        data = b""
        while len(data) < file.entry.size_bytes:
            if position == len(held):
                held, position = next(stream), 0
            part = held[position : position + file.entry.size_bytes - len(data)]
            position += len(part)
            data += part
        if "sha256:" + hashlib.sha256(data).hexdigest() != file.entry.digest:
            raise _damaged(file)
        fsio.write_file(fsio.safe_join(folder, file.entry.path), _writer(data), settle=False)
        progress(len(data))


def _receive_large(file: StoredFile, folder: Path, reader: Reader, progress: Progress) -> None:
    target = fsio.safe_join(folder, file.entry.path)
    resumed = False

    def read(offset: int) -> Iterator[memoryview]:
        nonlocal resumed
        resumed = offset > 0
        progress(offset)
        for data in reader.stream(file.locate(offset, file.entry.size_bytes - offset)):
            yield data
            progress(len(data))

    digest = fsio.receive_file(target, read, limit=file.entry.size_bytes, resume=True)
    if digest != file.entry.digest and resumed:  # what was left of an earlier attempt may have been something else
        progress(-file.entry.size_bytes)
        digest = fsio.receive_file(target, read, limit=file.entry.size_bytes, resume=False)
    if digest != file.entry.digest:
        fsio.remove_file(target)
        raise _damaged(file)


def _writer(data: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(data)

    return write


def _damaged(file: StoredFile) -> CorruptError:
    objects = ", ".join(sorted({object_key(piece.digest) for piece in file.pieces})[:3])
    return CorruptError(
        f"{names.printable(file.entry.path)} does not agree with its seal after it was put together from {objects}",
        hint="'ckptsync scrub' says which object is damaged; an older version may be whole",
    )
