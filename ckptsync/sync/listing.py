"""What a runner lists of a session's outputs: foreign text, looked at as a whole before any of it touches a path."""

from __future__ import annotations

from ..core import names
from ..core.errors import LimitError, UnsafePathError
from ..runners.base import OutputFile

MAX_FILES = 100_000
MAX_FILE_BYTES = 1 << 40


def checked_outputs(files: list[OutputFile]) -> list[OutputFile]:
    """Return outputs in order, each once, after a look at every name before any of them touches a path.

    Raises:
        UnsafePathError: a name leads out of the folder, two are one where case does not count, a file
            stands where another needs a folder, or one is listed with two sizes.
        LimitError: there are too many, or one is too large.
    """
    if len(files) > MAX_FILES:
        raise LimitError(f"the session left {len(files)} files; at most {MAX_FILES} are fetched")
    folded: dict[str, str] = {}
    by_path: dict[str, OutputFile] = {}
    for file in files:
        names.check_relative(file.path, what="name of an output")
        if file.path.endswith(names.PARTIAL_SUFFIX):
            raise UnsafePathError(f"an output is called {names.printable(file.path)}; such names are for downloads")
        if file.size_bytes is not None and file.size_bytes > MAX_FILE_BYTES:
            raise LimitError(f"{names.printable(file.path)} has {file.size_bytes} bytes; that is too much")
        if (other := folded.setdefault(file.path.casefold(), file.path)) != file.path:
            raise UnsafePathError(
                f"two outputs differ in case only: {names.printable(other)} and {names.printable(file.path)}"
            )
        if by_path.setdefault(file.path, file) != file:
            raise UnsafePathError(f"an output is listed twice with different sizes: {names.printable(file.path)}")
    for path in folded:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in folded for depth in range(1, len(parts))):
            raise UnsafePathError(f"an output is a file and a folder at once: {names.printable(path)}")
    return [by_path[path] for path in sorted(by_path)]
