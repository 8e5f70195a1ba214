"""What an unmodified script leaves: sealed as far as it is sound, and never taken for progress when it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.toysets import LINEAGE, digest_of, lay_segments

from ckptsync.core import heads, names, sets
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import FileEntry, Manifest, Origin
from ckptsync.core.readers import read_model
from ckptsync.core.session import EventLog, ScenarioSpec, SessionSpec, read_events
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip
from ckptsync.training.classic import ClassicEnd, seal_classic

EXIT = ClassicEnd("exit")


class Machine:
    """A session's working folder, with what `boot` gives to `seal_classic`."""

    def __init__(self, root: Path) -> None:
        self.tree = TrainingTree(root / "data" / "models")
        self.tree.checkpoints.mkdir(parents=True)
        self.events = root / "events.jsonl"
        self.said: list[str] = []

    def save(self, scenario: str, num_timesteps: int, *, seed: int | None = None) -> Path:
        path = self.tree.checkpoints / f"{scenario}_checkpoint_{num_timesteps}_steps.zip"
        parameters = mlp_parameters(seed=num_timesteps if seed is None else seed)
        write_sb3_zip(path, parameters, num_timesteps=num_timesteps)
        return path

    def lay(self, scenario: str, num_timesteps: int, **fields: Any) -> Manifest:
        path = self.save(scenario, num_timesteps)
        report = read_model(path, own=True)
        files = [FileEntry(path.name, "model", report.size_bytes, report.digest, report.content)]
        for name in fields.pop("members", ()):
            member = self.tree.checkpoints / names.member_name(path.stem, name, "bin")
            member.write_bytes(b"state")
            entry_size, digest = member.stat().st_size, digest_of(b"state")
            files.append(FileEntry(member.name, name, entry_size, digest))
        files += lay_segments(self.tree.checkpoints, scenario, fields.pop("rows", ()))
        manifest = Manifest(
            scenario=scenario,
            num_timesteps=num_timesteps,
            kind="periodic",
            files=tuple(files),
            signature=report.signature,
            lineage=LINEAGE,
            generation=1,
            session="r/s0001",
            **fields,
        )
        return sets.seal_in_place(self.tree.checkpoints, manifest)

    def spec(self, *promised: Manifest, **targets: int) -> SessionSpec:
        for manifest in promised:
            heads.write_head(self.tree, heads.Head.of(manifest))
        return SessionSpec(
            run="r",
            session="r/s0002",
            lineage=LINEAGE,
            generation=2,
            scenarios=tuple(ScenarioSpec(name, target) for name, target in targets.items()),
            heads={m.scenario: Origin(m.session, m.num_timesteps, m.digest) for m in promised},
        )

    def seal(self, spec: SessionSpec, end: ClassicEnd = EXIT) -> list[Manifest]:
        return seal_classic(spec, self.tree, EventLog(self.events, spec.session), end, say=self.said.append)

    def head(self, scenario: str) -> heads.Head:
        head = heads.read_head(self.tree, scenario)
        assert head is not None
        return head

    def ends(self) -> dict[str, dict[str, Any]]:
        return {event["scenario"]: event for event in read_events(self.events) if event["event"] == "end"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_first_session_becomes_a_chain(machine: Machine) -> None:
    for steps in (500, 1000, 1500):
        machine.save("x", steps)
    sealed = machine.seal(machine.spec(x=1500))
    assert [m.num_timesteps for m in sealed] == [500, 1000, 1500]
    assert [m.parent for m in sealed] == [None, sealed[0].digest, sealed[1].digest]
    for manifest in sealed:
        assert not sets.check_files(machine.tree.checkpoints, manifest)
        assert (manifest.generation, manifest.session, manifest.lineage) == (2, "r/s0002", LINEAGE)
        assert (manifest.captured, manifest.resumed_from) == ("weights", None)
        assert manifest.signature.parameters["action_net.bias"].shape == (2,)
    assert machine.head("x").digest == sealed[-1].digest
    assert machine.ends()["x"]["cause"] == "target"
    assert [e["event"] for e in read_events(machine.events)] == ["start", "save", "save", "save", "end"]


def test_a_resumed_session_goes_on_from_the_head(machine: Machine) -> None:
    head = machine.lay("x", 1000)
    machine.save("x", 1500)
    sealed = machine.seal(machine.spec(head, x=5000))
    assert [m.num_timesteps for m in sealed] == [1500]
    assert sealed[0].parent == head.digest
    assert sealed[0].resumed_from == Origin("r/s0001", 1000, head.digest)
    assert machine.head("x").digest == sealed[0].digest
    end = machine.ends()["x"]
    assert (end["cause"], end["num_timesteps"]) == ("exit", 1500)


def test_several_scenarios_each_have_their_chain(machine: Machine) -> None:
    head = machine.lay("x", 1000)
    machine.save("x", 2000)
    machine.save("y", 100)
    sealed = machine.seal(machine.spec(head, x=2000, y=400, z=400))
    assert [(m.scenario, m.num_timesteps, m.parent) for m in sealed] == [("x", 2000, head.digest), ("y", 100, None)]
    assert {name: end["cause"] for name, end in machine.ends().items()} == {"x": "target", "y": "exit"}


@pytest.mark.parametrize("steps", [(500,), (500, 1500), (1000,)])
def test_a_start_from_zero_is_no_progress(machine: Machine, steps: tuple[int, ...]) -> None:
    head = machine.lay("x", 1000)
    spec = machine.spec(head, x=5000)
    for number in steps:
        machine.save("x", number, seed=99)
    assert machine.seal(spec) == []
    assert any("began from zero" in line for line in machine.said)
    assert any(e["event"] == "warning" for e in read_events(machine.events))
    assert all(s.manifest is None or s.manifest.digest == head.digest for s in sets.scan(machine.tree.checkpoints))


def test_saving_what_was_loaded_once_more_is_no_start_from_zero(machine: Machine) -> None:
    head = machine.lay("x", 1000, members=("resume",))
    spec = machine.spec(head, x=1500)
    path = machine.save("x", 1000)
    write_sb3_zip(path, mlp_parameters(seed=1000), num_timesteps=1000, extra={"saved": "again"})
    machine.save("x", 1500)
    sealed = machine.seal(spec)
    assert [m.num_timesteps for m in sealed] == [1000, 1500]
    assert [len(m.files) for m in sealed] == [1, 1]
    assert not list(machine.tree.checkpoints.glob("*.resume.bin"))


def test_sets_that_the_script_removed_end(machine: Machine) -> None:
    head = machine.lay("x", 1000, members=("resume",))
    spec = machine.spec(head, x=5000)
    (machine.tree.checkpoints / head.model.path).unlink()
    machine.save("x", 1500)
    machine.save("x", 2000)
    sealed = machine.seal(spec)
    assert machine.head("x").digest == sealed[-1].digest
    assert {s.num_timesteps for s in sets.scan(machine.tree.checkpoints)} == {1500, 2000}
    assert not list(machine.tree.checkpoints.glob("x_checkpoint_1000_steps*"))


def test_removing_everything_leaves_no_head(machine: Machine) -> None:
    head = machine.lay("x", 1000)
    spec = machine.spec(head, x=5000)
    (machine.tree.checkpoints / head.model.path).unlink()
    assert machine.seal(spec) == []
    assert heads.read_head(machine.tree, "x") is None


def test_damaged_files_are_not_sealed(machine: Machine) -> None:
    machine.save("x", 500)
    path = machine.save("x", 1000)
    path.write_bytes(path.read_bytes()[:-100])
    (machine.tree.checkpoints / "x_checkpoint_1500_steps.zip").write_bytes(b"")
    sealed = machine.seal(machine.spec(x=5000), ClassicEnd("error", "SIGKILL"))
    assert [m.num_timesteps for m in sealed] == [500]
    warnings = [e["message"] for e in read_events(machine.events) if e["event"] == "warning"]
    assert len(warnings) == 2
    assert path.name in warnings[0]
    end = machine.ends()["x"]
    assert (end["cause"], end["signal"]) == ("error", "SIGKILL")


def test_another_prefix_is_named_and_left(machine: Machine) -> None:
    path = machine.save("x", 500)
    path.rename(path.with_name("x_500_steps.zip"))
    assert machine.seal(machine.spec(x=5000)) == []
    assert any("x_checkpoint_500_steps.zip" in line for line in machine.said)
    assert (machine.tree.checkpoints / "x_500_steps.zip").exists()


def test_other_scenarios_are_left_alone(machine: Machine) -> None:
    machine.save("theirs", 500)
    assert machine.seal(machine.spec(x=5000)) == []
    assert [s.state for s in sets.scan(machine.tree.checkpoints)] == [sets.SetState.UNSEALED]
    assert read_events(machine.events) == []


def test_the_target_is_reached_only_by_a_script_that_ended_well(machine: Machine) -> None:
    machine.save("x", 5000)
    machine.seal(machine.spec(x=5000), ClassicEnd("deadline"))
    assert machine.ends()["x"]["cause"] == "deadline"


def test_a_best_set_that_is_still_there_stays_the_best(machine: Machine) -> None:
    best = machine.lay("x", 600)
    head = machine.lay("x", 1000)
    spec = machine.spec(head, x=5000)
    heads.write_head(machine.tree, heads.Head.of(head, heads.Best(best.stem, best.digest, 9.0)))
    machine.save("x", 1500)
    machine.seal(spec)
    assert machine.head("x").best == heads.Best(best.stem, best.digest, 9.0)


def test_ending_an_overwritten_set_leaves_the_segments_that_others_need(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    older = machine.lay("x", 100, rows=[0, 10, 20])
    promised = machine.lay("x", 200, rows=[10, 20, 30], parent=older.digest)
    machine.save("x", 200, seed=99)
    machine.save("x", 300)
    machine.seal(machine.spec(promised, x=1000))
    assert sets.check_files(machine.tree.checkpoints, older) == ()
    kept = {path.name for path in (machine.tree.checkpoints / "x_replay").iterdir()}
    assert kept == {entry.path.partition("/")[2] for entry in older.segments}
