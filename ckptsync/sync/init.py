"""init: a project that launches as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio
from ..core.errors import UsageError
from ..core.layout import CONFIG_NAME
from ..project.values import did_you_mean

INIT_SCHEMA = "ckptsync.init/1"
DEFAULT_KERNEL = "cartpole_ppo"
TEMPLATES = Path(__file__).parent.parent / "templates"
_IGNORED = ("data/", "results/", ".ckptsync/", "__pycache__/")
_MARK = "@RUN@\n"


@dataclass(frozen=True)
class InitReport:
    """What init writes or wrote.

    Args:
        folder: the project's folder.
        kernel: the kernel that was copied; also the run's name.
        files: every file, relative to the folder.
        dry_run: nothing was written.
    """

    folder: Path
    kernel: str
    files: tuple[str, ...]
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": INIT_SCHEMA,
            "exit_code": 0,
            "folder": str(self.folder),
            "kernel": self.kernel,
            "files": list(self.files),
            "dry_run": self.dry_run,
            "next_command": "ckptsync launch --quick",
        }


def kernel_names() -> list[str]:
    """Return the kernels that `init` can copy."""
    return [name for name in fsio.list_names(TEMPLATES / "runs") if name.endswith(".toml") for name in [name[:-5]]]


def init(folder: Path, kernel: str = DEFAULT_KERNEL, *, dry_run: bool = False) -> InitReport:
    """Write ckptsync.toml, a kernel to start from, and lines for .gitignore.

    Args:
        folder: the project's folder; made when missing.
        kernel: which of `kernel_names`.
        dry_run: write nothing.

    Raises:
        UsageError: there is no such kernel, or a file is there already; nothing is written then.
    """
    known = kernel_names()
    if kernel not in known:
        raise UsageError(f"there is no kernel {kernel!r}", hint=did_you_mean(kernel, known))
    new = _files(kernel)
    for name in new:
        if (folder / name).exists():
            raise UsageError(f"{folder / name} is there already; nothing was written", hint="choose another folder")
    ignore = _gitignore(folder)
    if ignore is not None:
        new[".gitignore"] = ignore
    if not dry_run:
        # The configuration last: with it the folder is a project
        for name in [*(name for name in new if name != CONFIG_NAME), CONFIG_NAME]:
            fsio.make_folder((folder / name).parent)
            fsio.write_bytes(folder / name, new[name])
    return InitReport(folder, kernel, tuple(new), dry_run)


def _files(kernel: str) -> dict[str, bytes]:
    source = TEMPLATES / "kernels" / kernel
    config = (TEMPLATES / CONFIG_NAME).read_text(encoding="utf-8")
    run = (TEMPLATES / "runs" / f"{kernel}.toml").read_text(encoding="utf-8")
    files = {CONFIG_NAME: config.replace(_MARK, run).encode()}
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"kernels/{kernel}/{path.relative_to(source).as_posix()}"] = path.read_bytes()
    return files


def _gitignore(folder: Path) -> bytes | None:
    """Return .gitignore with what is missing added behind what is there; None when nothing is missing."""
    path = folder / ".gitignore"
    present = path.read_bytes() if path.is_file() else b""
    lines = present.decode("utf-8", "replace").split("\n")
    missing = [line for line in _IGNORED if line not in lines and "/" + line not in lines]
    if not missing:
        return None
    between = b"\n" if present and not present.endswith(b"\n") else b""
    return present + between + "".join(f"{line}\n" for line in missing).encode()
