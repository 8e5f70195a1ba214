"""The unmodified script with real stable-baselines3: three scenarios in one session, resumed in the next."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.toysets import LINEAGE

from ckptsync.core import heads, names, sets
from ckptsync.core.layout import ProjectLayout, TrainingTree
from ckptsync.core.manifest import Origin
from ckptsync.core.pack import write_pack
from ckptsync.core.session import ScenarioSpec, SessionSpec, read_session_info
from ckptsync.runners.base import SessionState, Submission
from ckptsync.runners.bundle import build_bundle
from ckptsync.runners.local import LocalRunner

KERNEL = Path(__file__).parents[2] / "kernels" / "classic_callback"
SCENARIOS = ("traffic_light_control", "ramp_metering", "adaptive_speed_control")


@pytest.mark.slow
def test_plain_callbacks_resume_in_the_next_session(tmp_path: Path) -> None:
    assert "import ckptsync" not in (KERNEL / "train.py").read_text()
    layout = ProjectLayout(tmp_path)
    runner = LocalRunner(layout.session, default_budget=240.0)
    promised: dict[str, Origin] = {}
    packs: dict[str, Path] = {}
    reached: list[dict[str, int]] = []
    for number in (1, 2):
        spec = SessionSpec(
            run="classic",
            session=names.session_id("classic", number),
            lineage=LINEAGE,
            generation=number,
            scenarios=tuple(ScenarioSpec(name, 10**6) for name in SCENARIOS),
            heads=promised,
        )
        bundle = build_bundle(KERNEL, spec, wheels=["stable_baselines3", "tqdm"], cache=layout.cache).script
        handle = runner.start(Submission(spec.session, number, bundle, inputs=packs))
        while not (status := runner.status(handle)).state.finished:
            time.sleep(0.2)
        log = runner.log(handle).decode()
        assert status.state is SessionState.COMPLETE, log
        working = layout.session(spec.session) / "working"
        tree = TrainingTree(working / "data" / "models")
        promised, packs = {}, {}
        for name in SCENARIOS:
            head = heads.read_head(tree, name)
            assert head is not None, log
            manifest = sets.read_manifest(tree.checkpoints / (head.stem + names.MANIFEST_SUFFIX))
            assert not sets.check_files(tree.checkpoints, manifest)
            assert manifest.generation == number
            assert manifest.signature.parameters
            promised[name] = Origin(manifest.session, manifest.num_timesteps, manifest.digest)
            packs[f"{name}.ckpt"] = tmp_path / f"{name}.ckpt"
            members = [*(entry.path for entry in manifest.files), head.stem + names.MANIFEST_SUFFIX]
            write_pack(packs[f"{name}.ckpt"], {member: tree.checkpoints / member for member in members})
        blocks = read_session_info(working / "session_info.json")["scenarios"]
        reached.append({name: blocks[name]["num_timesteps"] for name in SCENARIOS})
        began = {name: blocks[name]["started_at"] for name in SCENARIOS}
        assert began == (reached[0] if number == 2 else dict.fromkeys(SCENARIOS, 0))
    assert all(reached[1][name] > reached[0][name] for name in SCENARIOS)
