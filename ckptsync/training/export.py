"""A sealed set's replay buffer as SB3's own file: python -m ckptsync.training.export MANIFEST TARGET

The command line starts it as a process of its own, for it needs stable-baselines3 and torch. What went wrong stands on
its standard output as one JSON object, `{"error": ..., "hint": ...}`, with the exit code of the error.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..core import fsio, sets
from ..core.errors import CkptsyncError, CorruptError, ExitCode, NothingFoundError
from ..core.manifest import Manifest

if TYPE_CHECKING:
    from .replay.state import StateFile


def export_replay(folder: Path, manifest: Manifest, target: Path) -> None:
    """Write the replay buffer of a set as the file that SB3's `load_replay_buffer` reads.

    Args:
        folder: the folder of the set.
        manifest: of the set; the files of the buffer are compared with it before they are read.
        target: the file to write; its folder must exist.

    Raises:
        NothingFoundError: the set holds no replay buffer.
        CorruptError: a file disagrees with the seal.
        CkptsyncError: the buffer is of a class of the user's own, or was sealed by an earlier version.
    """
    from .replay import read_replay
    from .replay.state import StateFile

    entry = manifest.entry("replay")
    if entry is None:
        raise NothingFoundError(f"{manifest.stem} holds no replay buffer")
    for needed in (entry, *manifest.segments):
        if (finding := sets.check_file(folder, needed)) is not None:
            raise CorruptError(str(finding), hint=finding.hint)
    buffer = _built(StateFile(folder / entry.path))
    if (problem := read_replay(folder, manifest.files, buffer)) is not None:
        raise CkptsyncError(f"{manifest.stem}: {problem}")

    def write(file: BinaryIO) -> None:
        pickle.dump(buffer, file, protocol=pickle.HIGHEST_PROTOCOL)  # as SB3 does

    fsio.write_file(target, write)


def _built(source: StateFile) -> Any:
    from stable_baselines3.common import buffers
    from stable_baselines3.her import HerReplayBuffer

    from .replay.settings import build_space

    geometry, small = source.state.geometry, source.small
    if "settings" not in small:
        raise CkptsyncError(
            f"{source.path.name} was sealed by a version that did not note how the buffer was built",
            hint="resume from it and let the session save once; that set can be exported",
        )
    settings = dict(small["settings"])
    classes = {"HerReplayBuffer": HerReplayBuffer, **vars(buffers)}
    if not settings.pop("module").startswith("stable_baselines3.") or geometry["class"] not in classes:
        raise CkptsyncError(
            f"the replay buffer is a {geometry['class']}, which is no class of stable-baselines3, so only the training "
            "script can build one",
            hint="call model.save_replay_buffer() in the script",
        )
    if geometry["class"] == "HerReplayBuffer":
        settings["env"] = None  # load_replay_buffer gives it the model's
    return classes[geometry["class"]](
        geometry["buffer_size"] * geometry["n_envs"],
        build_space(small["observation_space"]),
        build_space(small["action_space"]),
        device="cpu",
        n_envs=geometry["n_envs"],
        **settings,
    )


def main(arguments: list[str]) -> int:
    """Export the replay buffer of the set of a manifest; return the exit code."""
    try:
        source, target = map(Path, arguments)
        export_replay(source.parent, sets.read_manifest(source), target)
    except CkptsyncError as error:
        return _failed(error.message, error.hint, error.exit_code)
    except ModuleNotFoundError as error:
        needed = f"writing SB3's own file needs the package {error.name}, which is not installed here"
        return _failed(needed, "pip install 'ckptsync[train]'", ExitCode.ERROR)
    return ExitCode.OK


def _failed(message: str, hint: str | None, exit_code: ExitCode) -> int:
    sys.stdout.write(json.dumps({"error": message, "hint": hint}) + "\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
