"""A tree of 10,000 checkpoints, and bringing 1 GB into a tree, beside `cp` with fsync."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_cli import make_big
from timing import heading, interleaved, peak_memory, process, ratio, row

from ckptsync.core import fsio, names
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.core.readers import read_model
from ckptsync.core.sets import copy_set, seal_in_place
from ckptsync.testing.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip

_CKPTSYNC = Path(sys.executable).with_name("ckptsync")
_SETS = 10_000


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        listing(Path(folder) / "listing")
        restoring(Path(folder) / "restoring")


def listing(project: Path) -> None:
    """Time `ckptsync ls` over many sets."""
    project.mkdir()
    subprocess.run([_CKPTSYNC, "init", "--kernel", "toy"], cwd=project, check=True, capture_output=True)
    checkpoints = project / "data" / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    model = project / "model.zip"
    write_sb3_zip(model, mlp_parameters(), num_timesteps=0)
    entry = FileEntry("", "model", model.stat().st_size, fsio.sha256_file(model))
    for number in range(_SETS):
        stem = names.checkpoint_stem("toy", number)
        os.link(model, checkpoints / names.model_name(stem))
        manifest = _manifest("toy", number, entry)
        (checkpoints / (stem + names.MANIFEST_SUFFIX)).write_bytes(manifest.serialise())

    heading(f"ckptsync ls over {_SETS:,} sealed sets, as a process")
    timed = interleaved({"ckptsync ls": process([_CKPTSYNC, "ls"], cwd=project)}, repeats=5)
    row("ckptsync ls", timed["ckptsync ls"], "goal: under 2 s")
    row("peak memory", f"{peak_memory([_CKPTSYNC, 'ls'], cwd=project) / 1e6:.0f} MB")


def _manifest(scenario: str, number: int, entry: FileEntry) -> Manifest:
    name = names.model_name(names.checkpoint_stem(scenario, number))
    return Manifest(
        scenario,
        number,
        "periodic",
        (FileEntry(name, "model", entry.size_bytes, entry.digest, entry.content),),
        mlp_signature(mlp_parameters()),
        "l0001-abcdef",
        1,
        created_at="2026-01-01T00:00:00Z",
    )


def restoring(folder: Path) -> None:
    """Time bringing a sealed set of 1 GB into a tree: judged, copied, hashed, synced."""
    source, target = folder / "source", folder / "target"
    source.mkdir(parents=True)
    target.mkdir()
    stem = names.checkpoint_stem("big", 1)
    model = source / names.model_name(stem)
    make_big(model, 1 << 30)
    manifest = seal_in_place(
        source, _manifest("big", 1, FileEntry("", "model", model.stat().st_size, fsio.sha256_file(model)))
    )

    def copy() -> None:
        subprocess.run(["cp", model, target / "plain"], check=True)
        subprocess.run(["sync", target / "plain", target], check=True)
        (target / "plain").unlink()

    def bring() -> None:
        copy_set(source, manifest, target)
        fsio.remove_folder(target)
        target.mkdir()

    def hash_only() -> None:
        fsio.sha256_file(model)

    def judge() -> None:
        read_model(model, own=True)

    heading("1 GB into a tree")
    timed = interleaved(
        {"cp + fsync": copy, "copy_set (hash, copy, fsync)": bring, "sha256 alone": hash_only, "read_model": judge},
        repeats=3,
    )
    for name, timing in timed.items():
        row(name, timing)
    plain = timed["cp + fsync"].median
    ratio("speed of copy_set / cp + fsync", plain / timed["copy_set (hash, copy, fsync)"].median, "at least 0.4")


if __name__ == "__main__":
    main()
