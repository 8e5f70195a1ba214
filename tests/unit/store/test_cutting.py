"""Files of which most stays equal: only what changed is sent, and every byte comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.largesets import safetensors, sb3_like, stored_zip, write_large_set

from ckptsync.core import sets
from ckptsync.core.errors import CorruptError
from ckptsync.core.readers.window import Window
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import (
    Line,
    Pushed,
    Repository,
    claims,
    create_repository,
    cutting,
    pull_set,
    push_set,
    pushing,
    removing,
    scrub,
)
from ckptsync.store.repository.ahead import Ahead
from ckptsync.store.repository.pushing import Pusher
from ckptsync.store.repository.ranges import Span, spans

pytestmark = pytest.mark.slow

FORMS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "sb3": sb3_like,
    "torch": lambda tensors: stored_zip({f"archive/data/{name}": data for name, data in tensors.items()}),
    "safetensors": safetensors,
}
TENSOR = 100_000


@pytest.fixture
def repository(fast_folder: Path) -> Repository:
    return create_repository(FolderStore(fast_folder / "store"))


@pytest.fixture
def tree(fast_folder: Path) -> Path:
    return fast_folder / "tree"


def tensors(count: int = 20) -> dict[str, bytes]:
    return {f"{number}": os.urandom(TENSOR) for number in range(count)}


def changed(before: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    return {**before, **{name: os.urandom(len(before[name])) for name in names}}


def push(repository: Repository, tree: Path, *files: bytes, start: int = 100) -> list[Pushed]:
    with pushing(repository) as pusher:
        return [
            pusher.push("run", tree, write_large_set(tree, start + number, {"model": data}).stem)
            for number, data in enumerate(files)
        ]


def assert_whole(repository: Repository, pushed: list[Pushed], tree: Path, target: Path) -> None:
    for item in pushed:
        manifest = pull_set(repository, item.version, target).manifest
        assert sets.check_files(target, manifest) == ()
    assert list(scrub(repository)) == []


@pytest.mark.parametrize("form", FORMS)
def test_only_changed_tensors_are_sent(repository: Repository, tree: Path, tmp_path: Path, form: str) -> None:
    first = tensors()
    second = changed(first, "3", "17")
    third = changed(second, "3")
    pushed = push(repository, tree, *(FORMS[form](found) for found in (first, second, third)))
    assert [item.sent_bytes // TENSOR for item in pushed] == [20, 2, 1]
    assert_whole(repository, pushed, tree, tmp_path)


def test_another_process_finds_what_stayed(repository: Repository, tree: Path, tmp_path: Path) -> None:
    first = tensors()
    pushed = push(repository, tree, safetensors(first))
    pushed += push(repository, tree, safetensors(changed(first, "0")), start=200)
    assert pushed[1].sent_bytes < 1.05 * TENSOR
    assert_whole(repository, pushed, tree, tmp_path)


def test_dense_training_is_stored_as_it_is(repository: Repository, tree: Path, tmp_path: Path) -> None:
    files = [sb3_like(tensors()) for _ in range(3)]
    pushed = push(repository, tree, *files)
    assert [item.sent_bytes for item in pushed] == [len(data) for data in files]
    assert len(list(repository.store.list("objects/"))) == 3
    assert_whole(repository, pushed, tree, tmp_path)


def test_tensors_that_moved_are_found(repository: Repository, tree: Path, tmp_path: Path) -> None:
    first = tensors()
    grown = {"new": os.urandom(TENSOR // 2), **dict(reversed(first.items()))}
    pushed = push(repository, tree, safetensors(first), safetensors(grown))
    assert pushed[1].sent_bytes < 0.55 * TENSOR
    assert_whole(repository, pushed, tree, tmp_path)


def test_a_file_in_too_many_objects_is_stored_whole_again(
    repository: Repository, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "MAX_SOURCES", 3)
    found = [tensors()]
    for number in range(6):
        found.append(changed(found[-1], str(number)))
    pushed = push(repository, tree, *map(safetensors, found))
    assert [item.sent_bytes // TENSOR for item in pushed] == [20, 1, 1, 1, 20, 1, 1]
    assert_whole(repository, pushed, tree, tmp_path)


def test_what_is_shared_outlives_its_first_version(repository: Repository, tree: Path, tmp_path: Path) -> None:
    first = tensors()
    pushed = push(repository, tree, safetensors(first), safetensors(changed(first, "0")))
    with removing(repository) as remover:
        remover.remove([pushed[0].version])
        assert remover.sweep().objects == 0
    assert_whole(repository, pushed[1:], tree, tmp_path)


@pytest.mark.parametrize(
    ("step", "before", "said"),
    [
        ("_draft_changes", True, "disagrees with its seal"),  # while it is compared
        ("_check", False, "other bytes a moment later"),  # between being compared and being sent
    ],
)
def test_a_file_that_changes_meanwhile(
    repository: Repository, tree: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bool, said: str
) -> None:
    first = tensors()
    push(repository, tree, safetensors(first))
    manifest = write_large_set(tree, 200, {"model": safetensors(changed(first, "5"))})
    path = tree / manifest.model.path
    does = getattr(cutting, step)

    def meddle() -> None:
        with open(path, "r+b") as file:
            file.seek(path.stat().st_size - 15 * TENSOR + 10)
            file.write(b"other")

    def does_meddled(*arguments: object) -> object:
        if before:
            meddle()
        result = does(*arguments)
        if not before:
            meddle()
        return result

    monkeypatch.setattr(cutting, step, does_meddled)
    with pushing(repository) as pusher, pytest.raises(CorruptError, match=said):
        pusher.push("run", tree, manifest.stem)
    assert len(list(repository.versions())) == 1


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_read_before_the_claim_counts_only_while_the_head_stands(
    repository: Repository, tree: Path, tmp_path: Path, moved: bool
) -> None:
    """Else it may have been removed meanwhile: then it is compared with what the head names now."""
    first = tensors()
    pushed = push(repository, tree, safetensors(first))
    manifest = write_large_set(tree, 900, {"model": safetensors(changed(first, "0"))})
    line = Line("run", manifest.scenario)
    ahead = Ahead(repository, line)
    assert ahead.found()[1] is not None
    if moved:
        other = write_large_set(tree, 800, {"model": safetensors(tensors())})
        push_set(repository, "run", tree, other.stem)
        with removing(repository) as remover:
            remover.remove([pushed[0].version])
            assert remover.sweep().objects > 0
    with claims.held(repository.store, claims.PUSH, (claims.REMOVE,), what="the push") as claim:
        ahead.confirm()
        done = Pusher(repository, claim, {line: ahead}).push("run", tree, manifest.stem)
    ahead.close()
    assert done.advanced
    assert (done.sent_bytes < 2 * TENSOR) == (not moved)
    assert list(scrub(repository)) == []
    assert_whole(repository, [done], tree, tmp_path)


def test_changes_that_become_too_many_are_stored_whole(repository: Repository, tree: Path, tmp_path: Path) -> None:
    """What was sent at once of a file that is stored whole after all is left for the next sweep."""
    found = [{f"{number}": os.urandom(TENSOR) for number in range(100)}]
    found.append(changed(found[-1], "0"))
    # Every twelfth range is looked at first, and stays
    found.append(changed(found[-1], *(str(number) for number in range(100) if number % 12)))
    pushed = push(repository, tree, *map(safetensors, found))
    assert pushed[2].sent_bytes > 100 * TENSOR
    assert_whole(repository, pushed, tree, tmp_path)
    with removing(repository) as remover:
        remover.sweep()
    assert_whole(repository, pushed, tree, tmp_path / "again")


def test_a_damaged_base_costs_bytes_and_nothing_else(repository: Repository, tree: Path, tmp_path: Path) -> None:
    first = tensors()
    pushed = push(repository, tree, safetensors(first))
    repository.store.put(pushed[0].version.key, b"{}")
    pushed = push(repository, tree, safetensors(changed(first, "0")), start=200)
    assert pushed[0].sent_bytes >= 20 * TENSOR
    manifest = pull_set(repository, pushed[0].version, tmp_path).manifest
    assert sets.check_files(tmp_path, manifest) == ()


def cut(data: bytes) -> list[Span]:
    return spans(Window(data, 0, len(data), "file", whole=True))


@pytest.mark.parametrize("form", FORMS)
def test_spans_cover_the_file_and_find_the_tensors(form: str) -> None:
    found = tensors(4)
    data = FORMS[form](found)
    result = cut(data)
    assert [span.offset for span in result] == [0, *(span.offset + span.size_bytes for span in result)][:-1]
    assert sum(span.size_bytes for span in result) == len(data)
    ranges = {data[span.offset : span.offset + span.size_bytes] for span in result if span.is_range}
    assert set(found.values()) <= ranges


@pytest.mark.parametrize("data", [b"", b"x" * 5_000, b"PK\x03\x04" * 5_000, safetensors({"a": b"x" * 9_000})[:-1]])
def test_what_is_no_archive_is_one_span(data: bytes) -> None:
    assert cut(data) == ([Span(0, len(data), False)] if data else [])


def test_a_damaged_archive_inside_is_one_range() -> None:
    data = stored_zip({"policy.pth": b"PK\x03\x04" * 5_000})
    assert [span.size_bytes for span in cut(data) if span.is_range] == [20_000]
