"""Files that survive a crash: temp + fsync + rename + fsync(dir), locks, safe opening, hashing.

Every change of a file that ckptsync cares for goes through this module, so that a test can stop the
process before any single one of them. What POSIX promises and we rely on: rename within one folder
is atomic; a name is durable once its folder is synced. A failed fsync is an error for good: it is
never tried again and called a success.

Source: the write order is that of restic's and borg's local repositories.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from . import fslock, names
from .errors import CorruptError, UnsafePathError, storage_error
from .fsread import (
    CHUNK,
    HashedWrite,
    Hasher,
    chunks,
    free_bytes,
    list_names,
    open_regular,
    read_bytes,
    safe_join,
    sha256_file,
    used_bytes,
)
from .fssync import EarlySync, sync_file, sync_files, sync_folder

__all__ = [
    "CHUNK",
    "append_line",
    "chunks",
    "copy_file",
    "free_bytes",
    "link_or_copy",
    "list_names",
    "locked",
    "make_folder",
    "open_regular",
    "read_bytes",
    "receive_file",
    "remove_file",
    "remove_folder",
    "rename",
    "safe_join",
    "sha256_file",
    "sweep_temporaries",
    "sync_file",
    "sync_files",
    "sync_folder",
    "truncate",
    "used_bytes",
    "write_by_content",
    "write_bytes",
    "write_file",
]
# Where a file cannot get a second name: another device, too many names already, no such thing here
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably; nothing happens when it exists."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not folder.is_dir():
            raise UnsafePathError(f"{folder} is a file where a folder is needed") from None
    except OSError as error:
        raise storage_error(error, folder) from error
    else:
        sync_folder(folder.parent)


def write_file(path: Path, write: Callable[[BinaryIO], None], *, settle: bool = True) -> None:
    """Write a file so that it exists whole or not at all, also after a power cut.

    Args:
        path: where it shall be; its folder must exist. What was there is replaced in one step.
        write: receives a binary file, open for reading and writing, and fills it.
        settle: make its name durable now. Else its bytes are, and the caller syncs the folder.

    Raises:
        StorageError: the disk is full, read-only or failing. Nothing has changed then, except when the
            folder could not be synced at the end: the new file is there and perhaps not durable.
    """
    _write(path, write, lambda: path, settle=settle)


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write bytes as `write_file` does; what is private nobody else may read."""

    def write(file: BinaryIO) -> None:
        if private:
            os.fchmod(file.fileno(), 0o600)
        file.write(data)

    write_file(path, write)


def write_by_content(
    folder: Path, write: Callable[[BinaryIO], None], name: Callable[[str], str]
) -> tuple[Path, int, str]:
    """Write a file whose name follows from its bytes, as `write_file` does; it is hashed while it is written.

    Args:
        folder: where it shall be; must exist. A file of that name is replaced in one step, by what it should hold.
        write: receives a file that can only be written from front to back, and fills it.
        name: `sha256:<hex>` of the bytes -> the file's name.

    Returns:
        Its path, its length and its digest.
    """
    hashed = HashedWrite(write)
    path = _write(folder / "content", hashed, lambda: folder / name(hashed.digest))
    return path, hashed.size_bytes, hashed.digest


def _write(path: Path, write: Callable[[BinaryIO], None], place: Callable[[], Path], *, settle: bool = True) -> Path:
    # `path` names the temporary file and what is reported; where it shall lie may be known only when it is written
    temporary = path.with_name(names.temporary_name(path.name, os.urandom(4).hex()))
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            target = place()
            os.rename(temporary, target)
        except BaseException:
            with suppress(OSError):  # clean-up after a failure: the failure itself is what gets reported
                os.unlink(temporary)
            raise
        if settle:
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    return target


def append_line(path: Path, line: bytes, *, durable: bool = True) -> None:
    """Append one line, in a single write where the disk takes it whole; durably unless told otherwise.

    What a writer that died left without a line break is closed with one first, so that it spoils no
    line but its own; readers meet it as a line that makes no sense.

    Args:
        path: the file, created when missing; its folder must exist.
        line: ends with a line break.
        durable: wait for the disk. Without it the line survives any end of the process, but no power cut.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            left = b"\n" + line if torn else line
            while left:
                left = left[os.write(descriptor, left) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error
    if durable:
        sync_folder(path.parent)  # always: whoever created the file may have died before this


def truncate(path: Path, size_bytes: int) -> None:
    """Cut the torn end off an append-only file, durably; the caller holds its lock."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(descriptor, size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error


def receive_file(
    target: Path, read: Callable[[int], Iterator[bytes | memoryview]], *, limit: int, resume: bool, settle: bool = True
) -> str:
    """Download a file into `<name>.partial` beside its place, rename it at the end, return its digest.

    Args:
        target: where it shall be; its folder must exist.
        read: given an offset, streams the source's bytes from there on, each piece as it is until the next one is
            asked for.
        limit: more bytes than this are refused; a partial file that holds more is begun anew.
        resume: go on behind what an earlier attempt has left in the partial file.
        settle: make its bytes and its name durable. Else the caller does that for many files at once, with
            `sync_files`, before anything relies on them.

    Raises:
        CorruptError: the source sends more than `limit` bytes.
        StorageError: the disk is full, read-only or failing; the partial file stays.
    """
    partial = target.with_name(target.name + names.PARTIAL_SUFFIX)
    hasher = Hasher()
    received = 0
    try:
        kept = resume and partial.exists() and partial.stat().st_size <= limit
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if kept else os.O_TRUNC)
        with os.fdopen(os.open(partial, flags, 0o644), "r+b", buffering=0) as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
            received = file.tell()
            with EarlySync(file.fileno()) as early:
                for chunk in read(received):
                    received += len(chunk)
                    if received > limit:
                        raise CorruptError(f"{target} is larger than the {limit} bytes that were announced")
                    hasher.update(chunk)
                    left = memoryview(chunk)
                    while left:
                        left = left[file.write(left) :]
                    if settle:
                        early.wrote(len(chunk))
                    hasher.wait()
            if settle:
                os.fsync(file.fileno())
        os.rename(partial, target)
    except OSError as error:
        raise storage_error(error, partial) from error
    if settle:
        sync_folder(target.parent)
    return hasher.digest()


def copy_file(
    source: Path, target: Path, *, size_bytes: int | None = None, digest: str | None = None, settle: bool = True
) -> str:
    """Copy a file durably and hash it in the same pass; return its digest. `settle` as for `write_file`.

    Raises:
        CorruptError: the bytes are not those of `size_bytes` and `digest`; the target is untouched then.
    """
    hasher = Hasher()
    copied = 0

    def write(file: BinaryIO) -> None:
        nonlocal copied
        for chunk in chunks(source):
            hasher.update(chunk)
            file.write(chunk)
            copied += len(chunk)
        found = hasher.digest()
        if size_bytes not in (None, copied) or digest not in (None, found):
            expected = " with ".join(
                ([] if size_bytes is None else [f"{size_bytes} bytes"]) + ([] if digest is None else [digest])
            )
            raise CorruptError(
                f"{source} has changed: expected {expected}, found {copied} bytes with {found}",
                hint="run 'ckptsync fetch' again",
            )

    write_file(target, write, settle=settle)
    return hasher.digest()


def link_or_copy(source: Path, target: Path, *, settle: bool = True) -> None:
    """Give a regular file a second name, or a copy where the file system has no hard links.

    Args:
        source: the file.
        target: the name; nothing may have it.
        settle: make both durable now. Else the file's bytes are, and the caller syncs the target's folder.

    Raises:
        NothingFoundError, UnsafePathError: the source is missing, or is no regular file.
        StorageError: it failed, or the target's name is taken.
    """
    if settle:
        sync_file(source)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise storage_error(error, target) from error
        copy_file(source, target, settle=False)
    if settle:
        sync_folder(target.parent)


def rename(source: Path, target: Path) -> None:
    """Rename durably, also into another folder of the same file system."""
    try:
        os.rename(source, target)
    except OSError as error:
        raise storage_error(error, target) from error
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove_file(path: Path) -> None:
    """Remove a file; nothing happens when it is gone. Durable once its folder is synced."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path, action="remove") from error


def remove_folder(path: Path) -> None:
    """Remove a folder and all that is in it, following no links; nothing happens when it is gone.

    Raises:
        UnsafePathError: the path itself is a link.
        StorageError: something in it cannot be removed.
    """
    if path.is_symlink():
        raise UnsafePathError(f"{path} is a link; nothing is removed through links")
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove_folder(Path(entry.path))
                else:
                    remove_file(Path(entry.path))
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path, action="remove") from error


def sweep_temporaries(folder: Path) -> int:
    """Remove what interrupted writes left in a folder; the caller holds its lock. Returns how many."""
    left = [name for name in list_names(folder) if names.is_temporary(name)]
    for name in left:
        remove_file(folder / name)
    return len(left)


@contextmanager
def locked(path: Path, *, what: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock that the kernel drops when the process dies, whatever its forked children do.

    Args:
        path: the lock's file; it stays.
        what: what is protected, for the message.
        wait_seconds: how long to wait for another holder.

    Raises:
        LockedError: somebody else holds it.
        StorageError: the file cannot be made, or its file system knows no locks.
    """
    make_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise storage_error(error, path) from error
    with fslock.held(descriptor, path, what=what, wait_seconds=wait_seconds):
        with suppress(OSError):  # who holds it, for the message to others; on a full disk the lock must still work
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
