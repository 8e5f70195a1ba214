"""After a power cut at any moment nothing acknowledged is lost, on a disk that keeps what was synced and no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import crashcases, crashpoints, figures, powercut
from support.crashcases import Case
from support.powercut import Step

from ckptsync.core import fsio

pytestmark = pytest.mark.slow


def sweep(case: Case, folder: Path, seeds: Sequence[int]) -> int:
    """Cut the power after every call of a case, several times each; return how often."""
    before, root = folder / "before", folder / "root"
    before.mkdir()
    case.prepare(before)
    shutil.copytree(before, root)
    steps = powercut.record(lambda ack: case.operate(root, ack))
    for end in range(len(steps) + 1):
        for seed in seeds:
            target = folder / f"cut-{end}-{seed}"
            acked = powercut.cut(before, root, steps[:end], target, seed)
            try:
                case.check(target, acked)
                again = crashpoints.run(lambda ack, target=target: case.operate(target, ack))  # type: ignore[misc]
                assert again.error is None, again.message
                case.complete(target)
            except AssertionError as error:
                last = steps[end - 1] if end else None
                raise AssertionError(f"{case.name}, cut after {end} steps ({last}), seed {seed}: {error}") from error
            shutil.rmtree(target)
    return (len(steps) + 1) * len(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("case", crashcases.sample())
def test_no_power_cut_loses_or_tears_anything(case: Case, fast_folder: Path) -> None:
    sweep(case, fast_folder, (0, 2, 3))


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("case", crashcases.SMALL, ids=lambda case: case.name)
def test_no_power_cut_at_all_loses_or_tears_anything(case: Case, fast_folder: Path) -> None:
    figures.record(f"power cuts: {case.name}", cuts=sweep(case, fast_folder, range(12)))


def calls(steps: list[Step]) -> list[tuple[str, str]]:
    """(name, last part of the path) of each call; temporary names as `*`."""
    found = []
    for step in steps:
        if step.call is not None:
            name = Path(step.call.path).name
            found.append((step.call.name, "*" if name.endswith(".tmp") else name))
    return found


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(tmp_path: Path) -> None:
    steps = powercut.record(lambda ack: fsio.write_bytes(tmp_path / "a", b"x"))
    assert calls(steps) == [
        ("open", "*"),
        ("write", "*"),
        ("fsync", "*"),
        ("rename", "a"),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda f: fsio.make_folder(f / "new"), [("mkdir", "new"), ("fsync", "f")]),
        (
            lambda f: fsio.append_line(f / "log", b"x\n"),
            [("open", "log"), ("write", "log"), ("fsync", "log"), ("fsync", "f")],
        ),
        (lambda f: fsio.link_or_copy(f / "a", f / "b"), [("fsync", "a"), ("link", "b"), ("fsync", "f")]),
        (lambda f: fsio.rename(f / "a", f / "b"), [("rename", "b"), ("fsync", "f")]),
        (lambda f: fsio.rename(f / "a", f / "sub" / "b"), [("rename", "b"), ("fsync", "sub"), ("fsync", "f")]),
        (lambda f: fsio.truncate(f / "a", 0), [("ftruncate", "a"), ("fsync", "a")]),
    ],
    ids=["make_folder", "append_line", "link_or_copy", "rename", "rename into another folder", "truncate"],
)
def test_the_order_of_every_durable_change(
    tmp_path: Path, act: Callable[[Path], None], expected: list[tuple[str, str]]
) -> None:
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"x")
    assert calls(powercut.record(lambda ack: act(folder))) == expected


def test_every_member_is_safe_before_the_seal_and_the_seal_before_the_intent_goes(tmp_path: Path) -> None:
    case = crashcases.save(before=0, members=2)
    (tmp_path / "before").mkdir()
    steps = powercut.record(lambda ack: case.operate(tmp_path / "before", ack))
    order = [
        (name, path) for name, path in calls(steps) if name in ("rename", "unlink") and path != "training_metadata.json"
    ]
    stem = crashcases.stem(100)
    assert order == [
        ("rename", f"{stem}.pending"),
        ("rename", f"{stem}.zip"),
        ("rename", f"{stem}.resume.safetensors"),
        ("rename", f"{stem}.manifest.json"),
        ("unlink", f"{stem}.pending"),
        ("rename", "cartpole_head.json"),
    ]


def test_what_others_wrote_is_synced_before_it_is_sealed_in_place(tmp_path: Path) -> None:
    case = crashcases.seal_in_place()
    case.prepare(tmp_path)
    steps = powercut.record(lambda ack: case.operate(tmp_path, ack))
    stem = crashcases.stem(100)
    assert calls(steps)[:3] == [("fsync", f"{stem}.zip"), ("fsync", "checkpoints"), ("open", "*")]


@pytest.mark.parametrize("what", ["files", "folders"])
def test_a_forgotten_sync_is_found(fast_folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    case = crashcases.save(before=1, members=1)
    recorded = powercut.record

    def record(operation: crashpoints.Operation) -> list[Step]:
        def forgotten(step: Step) -> bool:
            if step.call is None or step.call.name != "fsync":
                return False
            return Path(step.call.path).is_dir() == (what == "folders")

        return [step for step in recorded(operation) if not forgotten(step)]

    monkeypatch.setattr(powercut, "record", record)
    with pytest.raises((AssertionError, OSError, KeyError, ValueError)):
        sweep(case, fast_folder, range(6))
