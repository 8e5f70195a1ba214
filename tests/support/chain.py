"""Machines that run whole sessions of bundled scripts, one after another, with nothing but what they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ckptsync.core import heads, names, sets
from ckptsync.core.layout import SESSION_INFO_NAME, TrainingTree
from ckptsync.core.manifest import Manifest, Origin
from ckptsync.core.pack import PACK_SUFFIX, write_pack
from ckptsync.core.session import SavePolicy, ScenarioSpec, SessionSpec, read_session_info
from ckptsync.runners.bundle import build_bundle
from support.toysets import LINEAGE


class Machine:
    """Runs one session after another, each in folders of its own, and carries the heads between them."""

    def __init__(self, root: Path, kernel: Path, cache: Path) -> None:
        self.root = root
        self.cache = cache
        self.kernel = kernel
        self.number = 0
        self.heads: dict[str, Origin] = {}
        self.packs: dict[str, Path] = {}
        self.mounts: dict[str, Path] = {}
        self.environment: dict[str, str] = {}

    def spec(self, **fields: Any) -> SessionSpec:
        self.number += 1
        values: dict[str, Any] = {
            "run": "r",
            "session": names.session_id("r", self.number),
            "lineage": LINEAGE,
            "generation": self.number,
            "scenarios": (ScenarioSpec("x", 2000),),
            "heads": self.heads,
            "save": SavePolicy(every_steps=100, save_best=False),
            **fields,
        }
        return SessionSpec(**values)

    def prepare(self, spec: SessionSpec) -> tuple[list[str], Path, dict[str, str]]:
        place = self.root / f"machine{self.number}"
        (place / "working").mkdir(parents=True)
        (place / "input").mkdir()
        for name, path in self.packs.items():
            (place / "input" / name).write_bytes(path.read_bytes())
        for where, folder in self.mounts.items():
            mount(folder, place / "input" / where)
        bundle = build_bundle(self.kernel, spec, cache=self.cache)
        (place / "kernel.py").write_bytes(bundle.script)
        for name, path in bundle.inputs.items():
            (place / "input" / name).write_bytes(path.read_bytes())
        own = {"CKPTSYNC_INPUT_DIR": str(place / "input"), "TMPDIR": str(place)}
        environment = {**os.environ, **self.environment, **own}
        return [sys.executable, str(place / "kernel.py")], place / "working", environment

    def run(self, **fields: Any) -> Session:
        command, working, environment = self.prepare(self.spec(**fields))
        done = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, timeout=60)
        assert not list(working.parent.glob("ckptsync-*"))
        return Session(working, done.returncode, done.stdout + done.stderr)

    def carry(self, session: Session, scenario: str = "x") -> Manifest:
        """Pack the head, as a launch does."""
        head = heads.read_head(session.tree, scenario)
        assert head is not None
        manifest = sets.read_manifest(session.tree.checkpoints / (head.stem + names.MANIFEST_SUFFIX))
        files = [*(entry.path for entry in manifest.files), head.stem + names.MANIFEST_SUFFIX]
        self.packs = {name: path for name, path in self.packs.items() if not name.startswith(f"{scenario}_")}
        pack = self.root / (head.stem + PACK_SUFFIX)
        write_pack(pack, {name: session.tree.checkpoints / name for name in files})
        self.packs[pack.name] = pack
        self.heads = {**self.heads, scenario: Origin(manifest.session, manifest.num_timesteps, manifest.digest)}
        return manifest


class Session:
    """What one session left."""

    def __init__(self, working: Path, code: int, log: str) -> None:
        self.working = working
        self.code = code
        self.log = log
        self.tree = TrainingTree(working / "data" / "models")

    @property
    def info(self) -> dict[str, Any]:
        return read_session_info(self.working / SESSION_INFO_NAME)

    def sealed(self) -> list[int]:
        return [s.num_timesteps for s in sets.scan(self.tree.checkpoints) if s.state is sets.SetState.SEALED]


def mount(outputs: Path, target: Path) -> None:
    """Copy what a service keeps of a session's outputs: bytes, but no links, no modes and no empty folders."""
    for path in sorted(outputs.rglob("*")):
        if path.is_file() and not path.is_symlink():
            place = target / path.relative_to(outputs)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
            place.chmod(0o444)


def kernel_of(root: Path, script: str) -> Path:
    folder = root / "kernel"
    folder.mkdir()
    (folder / "train.py").write_text(script)
    return folder
