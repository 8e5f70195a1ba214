"""The operations that the sweeps strike, each with what must hold after any strike.

Every operation is written as its users write it: it can be repeated, and repeating it after a crash
must bring it to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptsync.core import fsio, heads, metadata, names, sets
from ckptsync.core.heads import Head
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.policy import Retained, to_remove
from ckptsync.core.session import EventLog, SavePolicy, read_events
from ckptsync.core.sets import SetState
from ckptsync.project.ledger import Ledger
from support.crashpoints import Ack
from support.toysets import files_of, manifest_of, write_plain, write_set


@dataclass(frozen=True)
class Case:
    """One operation.

    Args:
        name: for the table and the test's id.
        prepare: lays what is there before.
        operate: the operation; acknowledges what it was told is durable.
        check: asserts what must hold after a strike; gets what was acknowledged.
        complete: asserts what must hold after the operation has run to its end.
    """

    name: str
    prepare: Callable[[Path], None]
    operate: Callable[[Path, Ack], None]
    check: Callable[[Path, list[str]], None]
    complete: Callable[[Path], None]


def tree_of(root: Path) -> TrainingTree:
    """The training tree of a case."""
    return TrainingTree(root / "models", attic_override=root / "attic")


def stems(folder: Path, state: SetState = SetState.SEALED) -> set[str]:
    """The stems of one state in a folder."""
    return {stored.stem for stored in sets.scan(folder) if stored.state is state}


def assert_sound(folder: Path, *, plain: frozenset[str] = frozenset()) -> None:
    """Nothing sealed is broken, nothing torn is a candidate, and a sweep leaves a clean folder."""
    for stored in sets.scan(folder):
        assert stored.state is not SetState.CORRUPT, stored
        if stored.manifest is not None:
            assert sets.check_files(folder, stored.manifest) == (), stored.stem
        if stored.state is SetState.UNSEALED:
            assert stored.stem in plain, f"{stored.stem} passes for plain SB3 output"
    sets.sweep(folder)
    owned = {names.model_name(stem) for stem in plain}
    for stored in sets.scan(folder):
        assert stored.state is not SetState.TORN
        if stored.manifest is not None:
            owned |= {entry.path for entry in stored.manifest.files} | {stored.stem + names.MANIFEST_SUFFIX}
    left = {name for name in _files_in(folder) if not name.endswith(names.HEAD_SUFFIX)} - owned
    assert not left, f"nobody owns {sorted(left)}"


def _files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def assert_head(tree: TrainingTree, allowed: set[str | None]) -> None:
    """The head is one of those, and its set is there and whole."""
    head = heads.read_head(tree, "cartpole")
    assert (head.stem if head else None) in allowed
    if head is not None:
        manifest = sets.read_manifest(tree.checkpoints / (head.stem + names.MANIFEST_SUFFIX))
        assert manifest.digest == head.digest
        assert sets.check_files(tree.checkpoints, manifest) == ()


def stem(num_timesteps: int) -> str:
    """The stem of a set of the scenario that all cases train."""
    return names.checkpoint_stem("cartpole", num_timesteps)


def sealed_at(tree: TrainingTree, num_timesteps: int) -> Manifest | None:
    """The sealed set at N, when it is there."""
    path = tree.checkpoints / (stem(num_timesteps) + names.MANIFEST_SUFFIX)
    return sets.read_manifest(path) if path.exists() else None


def rows_at(num_timesteps: int, each: int) -> Sequence[int]:
    """Where the segments of the set at N begin and end: the last two, of so many rows each; none for 0."""
    return range(0, num_timesteps + 1, each)[-3:] if each else ()


# Save: a set, the head, the export, the metadata, retention


def _save(root: Path, num_timesteps: int, ack: Ack, members: int, each: int) -> None:
    tree = tree_of(root)
    fsio.make_folder(tree.checkpoints)
    with fsio.locked(tree.lock, what="the tree"):
        sets.sweep(tree.checkpoints)
        manifest = sealed_at(tree, num_timesteps) or write_set(
            tree.checkpoints, "cartpole", num_timesteps, members=members, rows=rows_at(num_timesteps, each)
        )
        ack(manifest.stem)
        heads.write_head(tree, Head.of(manifest))
        ack(f"head {manifest.stem}")
        metadata.write_metadata(tree, {"cartpole": manifest})
        stored = [s.manifest for s in sets.scan(tree.checkpoints) if s.manifest is not None]
        retained = [Retained(m.stem, (m.lineage, m.generation, m.num_timesteps), m.kind) for m in stored]
        for gone in to_remove(retained, SavePolicy(keep_last=2), keep=[manifest.stem]):
            sets.remove_set(tree.checkpoints, next(m for m in stored if m.stem == gone))


def _lay(root: Path, steps: range, members: int, each: int = 0) -> None:
    tree = tree_of(root)
    for num_timesteps in steps:
        rows = rows_at(num_timesteps, each)
        manifest = write_set(tree.checkpoints, "cartpole", num_timesteps, members=members, rows=rows)
        heads.write_head(tree, Head.of(manifest))


def save(*, before: int, members: int, each: int = 0) -> Case:
    """Save at N with some sets before it, of which two are kept; each set with two segments of `each` rows."""
    last, new = before * 100, (before + 1) * 100
    old_head = stem(last) if before else None

    def check(root: Path, acked: list[str]) -> None:
        tree = tree_of(root)
        if not tree.checkpoints.is_dir():
            assert not acked
            return
        kept = stems(tree.checkpoints)
        assert_sound(tree.checkpoints)
        assert stems(tree.checkpoints) == kept
        assert (stem(new) in kept) or stem(new) not in acked
        assert len(kept) >= min(2, before)
        assert_head(tree, {stem(new)} if f"head {stem(new)}" in acked else {stem(new), old_head})

    def complete(root: Path) -> None:
        tree = tree_of(root)
        assert stems(tree.checkpoints) == {stem(n) for n in range(max(1, before) * 100, new + 1, 100)}
        assert_head(tree, {stem(new)})
        assert metadata.read_metadata(tree) is not None

    return Case(
        f"save {members} files, {before} before" + _with_segments(each),
        lambda root: _lay(root, range(100, last + 1, 100), members, each),
        lambda root, ack: _save(root, new, ack, members, each),
        check,
        complete,
    )


def _with_segments(each: int) -> str:
    return f", with segments of {each} rows" if each else ""


# Remove, copy, move


def remove(members: int, each: int = 0) -> Case:
    """Remove one of two sets, and the segments that the other does not need."""

    def operate(root: Path, ack: Ack) -> None:
        tree = tree_of(root)
        sets.sweep(tree.checkpoints)
        if (manifest := sealed_at(tree, 100)) is not None:
            sets.remove_set(tree.checkpoints, manifest)
        ack("removed")

    def check(root: Path, acked: list[str]) -> None:
        folder = tree_of(root).checkpoints
        assert_sound(folder)
        assert stem(200) in stems(folder)
        assert "removed" not in acked or stem(100) not in stems(folder)

    def complete(root: Path) -> None:
        assert stems(tree_of(root).checkpoints) == {stem(200)}

    return Case(
        f"remove {members} files" + _with_segments(each),
        lambda root: _lay(root, range(100, 201, 100), members, each),
        operate,
        check,
        complete,
    )


def copy(*, members: int, link: bool, each: int = 0) -> Case:
    """Bring a set into another folder."""

    def operate(root: Path, ack: Ack) -> None:
        tree = tree_of(root)
        manifest = sealed_at(tree, 100)
        assert manifest is not None
        sets.copy_set(tree.checkpoints, manifest, root / "elsewhere" / "deep", link=link)
        ack("copied")

    def check(root: Path, acked: list[str]) -> None:
        assert_sound(tree_of(root).checkpoints)
        assert stem(100) in stems(tree_of(root).checkpoints)
        if (target := root / "elsewhere" / "deep").is_dir():
            assert_sound(target)
        assert "copied" not in acked or stem(100) in stems(target)

    def complete(root: Path) -> None:
        check(root, ["copied"])

    name = "link" if link else "copy"
    return Case(
        f"{name} {members} files" + _with_segments(each),
        lambda root: _lay(root, range(100, 101), members, each),
        operate,
        check,
        complete,
    )


def move(members: int, each: int = 0) -> Case:
    """Move a set to the attic: it is in one place or in both, never in none."""

    def operate(root: Path, ack: Ack) -> None:
        tree = tree_of(root)
        sets.sweep(tree.checkpoints)
        for stored in sets.scan(tree.checkpoints):
            if stored.num_timesteps == 100:
                sets.set_aside(stored, tree.attic)
        ack("moved")

    def check(root: Path, acked: list[str]) -> None:
        tree = tree_of(root)
        places = [tree.checkpoints, *(tree.attic / name for name in fsio.list_names(tree.attic))]
        assert any(stem(100) in stems(place) for place in places)
        for place in places:
            assert_sound(place)
        assert "moved" not in acked or stem(100) not in stems(tree.checkpoints)

    def complete(root: Path) -> None:
        check(root, ["moved"])

    return Case(
        f"move {members} files" + _with_segments(each),
        lambda root: _lay(root, range(100, 201, 100), members, each),
        operate,
        check,
        complete,
    )


def _set_aside_all(root: Path, ack: Ack) -> None:
    tree = tree_of(root)
    for stored in sets.scan(tree.checkpoints):
        sets.set_aside(stored, tree.attic)
    ack("moved")


def move_plain() -> Case:
    """Move plain SB3 output to the attic: its bytes are in one place or in both."""

    def check(root: Path, acked: list[str]) -> None:
        tree = tree_of(root)
        found = [path.read_bytes() for path in root.rglob(f"{stem(100)}.zip")]
        assert found
        assert set(found) == {b"plain SB3"}
        assert "moved" not in acked or stems(tree.checkpoints, SetState.UNSEALED) == set()

    return Case(
        "move a plain file",
        lambda root: void(write_plain(tree_of(root).checkpoints, "cartpole", 100)),
        _set_aside_all,
        check,
        lambda root: check(root, ["moved"]),
    )


def move_corrupt() -> Case:
    """Move a set with a damaged manifest to the attic: it never passes for plain SB3 output."""

    def prepare(root: Path) -> None:
        folder = tree_of(root).checkpoints
        write_set(folder, "cartpole", 100, members=3)
        (folder / (stem(100) + names.MANIFEST_SUFFIX)).write_bytes(b"{")

    def check(root: Path, acked: list[str]) -> None:
        tree = tree_of(root)
        assert stems(tree.checkpoints, SetState.UNSEALED) == set()
        assert set(root.rglob(f"{stem(100)}.resume.safetensors"))
        assert not acked or fsio.list_names(tree.checkpoints) == []

    return Case("move a corrupt set", prepare, _set_aside_all, check, lambda root: check(root, ["moved"]))


def void(_value: object) -> None:
    """Drop a value."""


# Head, seal in place, restore, sweep


def head_alone() -> Case:
    """Move the head from one set to another."""

    def operate(root: Path, ack: Ack) -> None:
        manifest = sealed_at(tree_of(root), 200)
        assert manifest is not None
        heads.write_head(tree_of(root), Head.of(manifest))
        ack("head")

    def prepare(root: Path) -> None:
        _lay(root, range(200, 99, -100), 1)

    def check(root: Path, acked: list[str]) -> None:
        assert_head(tree_of(root), {stem(200)} if acked else {stem(100), stem(200)})
        assert_sound(tree_of(root).checkpoints)

    return Case("move the head", prepare, operate, check, lambda root: check(root, ["head"]))


def seal_in_place() -> Case:
    """Seal plain files where they lie."""
    files = files_of("cartpole", 100, members=1)

    def prepare(root: Path) -> None:
        write_plain(tree_of(root).checkpoints, "cartpole", 100, files[f"{stem(100)}.zip"])

    def operate(root: Path, ack: Ack) -> None:
        tree = tree_of(root)
        if sealed_at(tree, 100) is None:
            sets.seal_in_place(tree.checkpoints, manifest_of("cartpole", 100, files, kind="adopted"))
        ack("sealed")

    def check(root: Path, acked: list[str]) -> None:
        folder = tree_of(root).checkpoints
        assert_sound(folder, plain=frozenset([stem(100)]))
        assert (folder / f"{stem(100)}.zip").read_bytes() == files[f"{stem(100)}.zip"]
        assert not acked or stem(100) in stems(folder)

    return Case("seal in place", prepare, operate, check, lambda root: check(root, ["sealed"]))


def bring_home(*, count: int, members: int, each: int = 0) -> Case:
    """What restore does: add sets, then move the head. Before that the tree is the old one, after it the new one."""
    new = [stem(100 * (2 + number)) for number in range(count)]

    def prepare(root: Path) -> None:
        _lay(root, range(100, 101), members, each)
        for number in range(count):
            steps = 100 * (2 + number)
            rows = rows_at(steps, each)
            write_set(root / "session", "cartpole", steps, members=members, generation=2, rows=rows)

    def operate(root: Path, ack: Ack) -> None:
        tree = tree_of(root)
        sets.sweep(tree.checkpoints)
        brought = [s.manifest for s in sets.scan(root / "session") if s.manifest is not None]
        for manifest in brought:
            sets.copy_set(root / "session", manifest, tree.checkpoints)
            ack(manifest.stem)
        heads.write_head(tree, Head.of(brought[-1]))
        ack("head")

    def check(root: Path, acked: list[str]) -> None:
        tree = tree_of(root)
        kept = stems(tree.checkpoints)
        assert stem(100) in kept
        assert {name for name in acked if name != "head"} <= kept
        assert_head(tree, {new[-1]} if "head" in acked else {stem(100), new[-1]})
        head = heads.read_head(tree, "cartpole")
        standing = heads.standing(tree, sets.scan(tree.checkpoints), "cartpole")
        assert head is not None
        assert standing.candidates[0].stem == head.stem
        assert_sound(tree.checkpoints)
        assert_sound(root / "session")

    return Case(
        f"bring home {count} sets of {members}" + _with_segments(each),
        prepare,
        operate,
        check,
        lambda root: check(root, [*new, "head"]),
    )


def sweep() -> Case:
    """Sweep what a crash left: sweeping is itself struck."""

    def prepare(root: Path) -> None:
        tree = tree_of(root)
        _lay(root, range(200, 201), 2)
        removed = write_set(tree.checkpoints, "cartpole", 100, members=3)
        (tree.checkpoints / f"{removed.stem}.manifest.json").rename(tree.checkpoints / f"{removed.stem}.deleting")
        writer = sets.SetWriter(tree.checkpoints, stem(300), [f"{stem(300)}.zip", f"{stem(300)}.resume.safetensors"])
        writer.share(0, 100, lambda file: void(file.write(b"rows that no manifest names")))
        writer.share(100, 200, lambda file: void(file.write(b"and more of them")))
        (tree.checkpoints / f"{stem(300)}.zip").write_bytes(b"half a set")
        (tree.checkpoints / names.temporary_name(f"{stem(300)}.resume.safetensors", "0123abcd")).write_bytes(b"ha")

    def operate(root: Path, ack: Ack) -> None:
        sets.sweep(tree_of(root).checkpoints)
        ack("swept")

    def check(root: Path, acked: list[str]) -> None:
        folder = tree_of(root).checkpoints
        assert stems(folder, SetState.UNSEALED) == set()
        assert stems(folder) == {stem(200)}
        assert not acked or stems(folder, SetState.TORN) == set()
        assert_sound(folder)

    return Case("sweep", prepare, operate, check, lambda root: check(root, ["swept"]))


# Append-only files


def events() -> Case:
    """Append events; a line that was acknowledged is read back, whatever happened after."""

    def operate(root: Path, ack: Ack) -> None:
        log = EventLog(root / "events.jsonl", "cartpole/s0001")
        for number in range(5):
            log.write("save", scenario="cartpole", num_timesteps=number)
            ack(str(number))

    def check(root: Path, acked: list[str]) -> None:
        EventLog(root / "events.jsonl", None).write("after")
        found = read_events(root / "events.jsonl")
        steps = [str(event["num_timesteps"]) for event in found if event["event"] == "save"]
        assert [step for step in steps if step in acked] == acked
        assert found[-1]["event"] == "after"
        (root / "events.jsonl").unlink()

    def complete(root: Path) -> None:
        assert [event["event"] for event in read_events(root / "events.jsonl")] == ["save"] * 5

    return Case("append events", lambda root: None, operate, check, complete)


def ledger() -> Case:
    """Append to the ledger; its entries are a gapless sequence after any strike."""

    def operate(root: Path, ack: Ack) -> None:
        book = Ledger(root / "ledger.jsonl", root / "lock")
        while (done := len(book.entries())) < 4:
            book.append("cancelled", run="cartpole", session="cartpole/s0001", number=done)
            ack(str(done))

    def check(root: Path, acked: list[str]) -> None:
        entries = Ledger(root / "ledger.jsonl", root / "lock").entries()
        assert [str(entry.fields["number"]) for entry in entries][: len(acked)] == acked
        assert len(entries) - len(acked) in (0, 1)

    def complete(root: Path) -> None:
        assert len(Ledger(root / "ledger.jsonl", root / "lock").entries()) == 4

    return Case("append to the ledger", lambda root: None, operate, check, complete)


# A second each at most, all points: for every check before a commit
QUICK = (
    remove(2),
    remove(1, each=50),
    copy(members=1, link=True),
    head_alone(),
    seal_in_place(),
    move_plain(),
    sweep(),
    events(),
)
SMALL = (
    *QUICK,
    save(before=0, members=2),
    save(before=3, members=2),
    save(before=3, members=2, each=100),
    copy(members=1, link=False, each=100),
    move(1, each=50),
    bring_home(count=2, members=1, each=100),
    copy(members=2, link=False),
    move(2),
    move_corrupt(),
    bring_home(count=2, members=2),
    ledger(),
)
LARGE = (
    *(save(before=before, members=members) for before in (0, 1, 2, 4, 6) for members in (1, 2, 3, 4)),
    *(remove(members) for members in (1, 3, 4)),
    *(copy(members=members, link=link) for members in (2, 3, 4) for link in (False, True)),
    *(move(members) for members in (1, 3, 4)),
    *(bring_home(count=count, members=members) for count in (1, 3, 8) for members in (1, 3, 4)),
    *(save(before=before, members=2, each=each) for before in (0, 1, 3, 6) for each in (10, 100)),
    *(remove(2, each=each) for each in (10, 100)),
    *(copy(members=2, link=link, each=each) for link in (False, True) for each in (10, 100)),
    *(move(2, each=each) for each in (10, 100)),
    *(bring_home(count=count, members=2, each=each) for count in (1, 4) for each in (10, 100)),
)


def sample() -> list[Any]:
    """The small cases as parameters of a test; those that take seconds are marked as slow."""
    return [pytest.param(case, id=case.name, marks=() if case in QUICK else pytest.mark.slow) for case in SMALL]
