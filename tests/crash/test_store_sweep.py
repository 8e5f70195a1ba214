"""Strikes operations on a repository in a folder at every call that changes a file: whatever has a name is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import figures
from support.crashcases import Case
from support.crashpoints import Ack
from support.largesets import safetensors, write_large_set
from support.strikes import Sweep, strikes
from support.toysets import payload, write_set

from ckptsync.core import names, sets
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import (
    ROLLBACK,
    Repository,
    create_repository,
    list_tags,
    move_head,
    open_repository,
    pull_set,
    push_set,
    read_head,
    removing,
    scrub,
    set_tag,
)

RUN = "run"
# A claim that cannot be withdrawn dies with its lease
HARMLESS = ("ftruncate", "pwrite", "unlink")
# The claim of a removal that has no room is tried with less to say
RETRYING = ("store: prune",)


def opened(root: Path) -> Repository:
    """One worker, so that the calls come in the same order every time."""
    return open_repository(FolderStore(root / "store"), workers=1)


def prepare(root: Path, *, pushed: int, local: int) -> None:
    """A repository with some versions, and some more sets in the tree, of which some share segments."""
    create_repository(FolderStore(root / "store"))
    for number in range(1, local + 1):
        write_set(root / "tree", "cartpole", 100 * number, rows=range(0, 100 * number + 1, 100)[-3:])
    for number in range(1, pushed + 1):
        push_set(opened(root), RUN, root / "tree", stem(100 * number))


def stem(num_timesteps: int) -> str:
    return names.checkpoint_stem("cartpole", num_timesteps)


def check(root: Path, acked: list[str]) -> None:
    """All that has a name is whole, and what was acknowledged is there."""
    repository = opened(root)
    assert list(scrub(repository)) == []
    there = {str(version.num_timesteps) for version in repository.versions()}
    assert set(acked) - {"swept"} <= there, acked
    head = read_head(repository, RUN, "cartpole")
    assert head is None or str(head.version.num_timesteps) in there
    assert all(tag.version in repository.versions() for tag in list_tags(repository, RUN, "cartpole"))


def _push(root: Path, ack: Ack) -> None:
    for steps in (100, 200):
        push_set(opened(root), RUN, root / "tree", stem(steps))
        ack(str(steps))


def _pushed(root: Path) -> None:
    repository = opened(root)
    head = read_head(repository, RUN, "cartpole")
    assert head is not None
    assert head.version.num_timesteps == 200
    for version in repository.versions():
        manifest = pull_set(repository, version, root / "whole").manifest
        assert sets.check_files(root / "whole", manifest) == ()


def _prepare_changes(root: Path) -> None:
    create_repository(FolderStore(root / "store"))
    tensors = {f"{number}": payload(number, size=300_000) for number in range(5)}
    write_large_set(root / "tree", 100, {"model": safetensors(tensors)})
    write_large_set(root / "tree", 200, {"model": safetensors({**tensors, "2": payload("new", size=300_000)})})


def _prune(root: Path, ack: Ack) -> None:
    repository = opened(root)
    with removing(repository, lease_seconds=-3_600) as remover:  # whoever was killed is dead at once
        gone = [version for version in repository.versions() if version not in remover.kept()]
        remover.remove(gone)
        remover.sweep()
    ack("swept")


def _pruned(root: Path) -> None:
    repository = opened(root)
    assert [version.num_timesteps for version in repository.versions()] == [300]
    needed = repository.read(next(repository.versions())).objects()
    assert len(list(repository.store.list("objects/"))) == len(needed)


def _pull(root: Path, ack: Ack) -> None:
    repository = opened(root)
    for version in repository.versions():
        pull_set(repository, version, root / "pulled")
        ack(str(version.num_timesteps))


def _check_pull(root: Path, acked: list[str]) -> None:
    check(root, [])
    for stored in sets.scan(root / "pulled"):
        if stored.manifest is not None:
            assert sets.check_files(stored.folder, stored.manifest) == ()
    sealed = {str(stored.num_timesteps) for stored in sets.scan(root / "pulled") if stored.manifest is not None}
    assert set(acked) <= sealed


def _pulled(root: Path) -> None:
    assert [stored.num_timesteps for stored in sets.scan(root / "pulled") if stored.manifest] == [100, 200]


def _roll_back(root: Path, ack: Ack) -> None:
    repository = opened(root)
    first = next(repository.versions())
    head = read_head(repository, RUN, "cartpole")
    if head is None or head.version != first:
        move_head(repository, head, first, reason=ROLLBACK)
    set_tag(repository, first, "good", move=True)
    ack("100")


def _rolled_back(root: Path) -> None:
    repository = opened(root)
    head = read_head(repository, RUN, "cartpole")
    assert head is not None
    assert head.version.num_timesteps == 100
    assert [tag.name for tag in list_tags(repository, RUN, "cartpole")] == ["good"]


def _prepared(pushed: int, local: int) -> Callable[[Path], None]:
    return lambda root: prepare(root, pushed=pushed, local=local)


CASES = (
    Case("store: push", _prepared(0, 2), _push, check, _pushed),
    Case("store: push what changed", _prepare_changes, _push, check, _pushed),
    Case("store: prune", _prepared(3, 3), _prune, check, _pruned),
    Case("store: pull", _prepared(2, 2), _pull, _check_pull, _pulled),
    Case("store: roll back, tag", _prepared(2, 2), _roll_back, check, _rolled_back),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_strike_leaves_anything_that_is_not_whole(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder, HARMLESS, retries=case.name in RETRYING)
    every = list(strikes(sweep.calls))
    # A share of the strikes here, spread over all calls and all ways; `make prove` takes every one
    for number in range(0, len(every), max(1, len(every) // 25)):
        sweep.strike(every[number])


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_strike_at_all_leaves_anything_that_is_not_whole(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder, HARMLESS, retries=case.name in RETRYING)
    every = list(strikes(sweep.calls))
    for strike in every:
        sweep.strike(strike)
    figures.record(f"strikes: {case.name}", calls=len(sweep.calls), points=len(every), broken=0)
