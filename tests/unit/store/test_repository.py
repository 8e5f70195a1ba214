"""Pushing, pulling, listing, heads and tags of a repository in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.largesets import write_large_set
from support.toysets import manifest_of, write_set

from ckptsync.core import sets
from ckptsync.core.errors import (
    CorruptError,
    CredentialsError,
    LockedError,
    NothingFoundError,
    ServiceError,
    UsageError,
)
from ckptsync.core.manifest import Manifest
from ckptsync.store.base import ObjectInfo, Stored
from ckptsync.store.folder import FolderStore
from ckptsync.store.fsspec_store import FsspecStore
from ckptsync.store.repository import (
    ROLLBACK,
    Repository,
    VersionKey,
    claims,
    create_repository,
    keys,
    list_heads,
    list_tags,
    move_head,
    open_repository,
    pull_set,
    push_set,
    pushing,
    read_head,
    read_tag,
    refs,
    remove_tag,
    removing,
    scrub,
    set_tag,
)

RUN = "run"


@pytest.fixture(params=["folder", "memory"])
def repository(request: pytest.FixtureRequest, fast_folder: Path) -> Repository:
    """One with conditional writes, and one without."""
    if request.param == "folder":
        return create_repository(FolderStore(fast_folder / "store"))
    return create_repository(FsspecStore(f"memory://{fast_folder.name}"))


@pytest.fixture
def tree(fast_folder: Path) -> Path:
    folder = fast_folder / "tree"
    folder.mkdir()
    return folder


def objects(repository: Repository) -> dict[str, int]:
    return {info.key: info.size_bytes for info in repository.store.list(keys.OBJECTS)}


def assert_same(tree: Path, pulled: Path, manifest: Manifest) -> None:
    assert sets.check_files(pulled, manifest) == ()
    name = f"{manifest.stem}.manifest.json"
    assert (pulled / name).read_bytes() == (tree / name).read_bytes()


def test_what_is_pushed_is_pulled_to_the_byte(repository: Repository, tree: Path, tmp_path: Path) -> None:
    manifest = write_set(tree, "cartpole", 2048, members=4, rows=(0, 100, 200))
    pushed = push_set(repository, RUN, tree, manifest.stem)
    assert (pushed.was_there, pushed.advanced, pushed.size_bytes) == (False, True, manifest.size_bytes)
    assert pushed.sent_bytes == manifest.size_bytes
    pulled = pull_set(repository, pushed.version, tmp_path / "pulled")
    assert pulled.manifest == manifest
    assert_same(tree, tmp_path / "pulled", manifest)
    assert list(scrub(repository)) == []


def test_small_files_share_an_object(repository: Repository, tree: Path) -> None:
    push_set(repository, RUN, tree, write_set(tree, "cartpole", 2048, members=4).stem)
    assert len(objects(repository)) == 1


def test_pushing_again_sends_nothing(repository: Repository, tree: Path) -> None:
    stem = write_set(tree, "cartpole", 2048).stem
    push_set(repository, RUN, tree, stem)
    before = objects(repository)
    again = push_set(repository, RUN, tree, stem)
    assert (again.was_there, again.sent_bytes, again.advanced) == (True, 0, True)
    assert objects(repository) == before


def test_segments_are_sent_once(repository: Repository, tree: Path) -> None:
    push_set(repository, RUN, tree, write_set(tree, "cartpole", 100, rows=(0, 50, 100)).stem)
    manifest = write_set(tree, "cartpole", 150, rows=(0, 50, 100, 150))
    pushed = push_set(repository, RUN, tree, manifest.stem)
    own = sum(entry.size_bytes for entry in manifest.members)
    assert pushed.sent_bytes == own + manifest.segments[-1].size_bytes


def test_pulling_again_receives_what_is_missing(repository: Repository, tree: Path, tmp_path: Path) -> None:
    manifest = write_set(tree, "cartpole", 2048, members=3)
    version = push_set(repository, RUN, tree, manifest.stem).version
    pull_set(repository, version, tmp_path)
    assert pull_set(repository, version, tmp_path).received_bytes == 0
    lost, damaged = (tmp_path / entry.path for entry in manifest.files[:2])
    lost.unlink()
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    again = pull_set(repository, version, tmp_path)
    assert again.skipped == (manifest.files[2].path,)
    assert_same(tree, tmp_path, manifest)


def test_a_file_that_disagrees_with_its_seal_is_not_pushed(repository: Repository, tree: Path) -> None:
    manifest = write_set(tree, "cartpole", 2048)
    (tree / manifest.files[1].path).write_bytes(b"x" * manifest.files[1].size_bytes)
    with pytest.raises(CorruptError, match="disagrees with its seal"):
        push_set(repository, RUN, tree, manifest.stem)
    assert list(repository.versions()) == []
    assert read_head(repository, RUN, "cartpole") is None


def test_a_set_that_is_not_there(repository: Repository, tree: Path) -> None:
    with pytest.raises(NothingFoundError):
        push_set(repository, RUN, tree, "cartpole_checkpoint_1_steps")


def test_versions_are_listed_without_being_read(repository: Repository, tree: Path) -> None:
    manifests = [
        write_set(tree, "cartpole", steps, generation=generation, kind=kind, metrics=metrics)
        for steps, generation, kind, metrics in (
            (900, 1, "periodic", {"ep_rew_mean": 12.5}),
            (1000, 1, "final", {"ep_rew_mean": -1e-7}),
            (1100, 2, "best", {"ep_rew_mean": 200}),
        )
    ]
    other = write_set(tree, "other scenario", 5)
    for manifest in (*reversed(manifests), other):
        push_set(repository, RUN, tree, manifest.stem, advance=False)
    repository.store.put("versions/run/cartpole/foreign.txt", b"somebody else's")
    found = list(repository.versions(RUN, "cartpole"))
    assert [key.digest for key in found] == [manifest.digest for manifest in manifests]
    assert [(key.num_timesteps, key.generation, key.kind, key.score) for key in found] == [
        (900, 1, "periodic", 12.5),
        (1000, 1, "final", -1e-7),
        (1100, 2, "best", 200.0),
    ]
    assert len(list(repository.versions(RUN))) == 4
    assert len(list(repository.versions())) == 4
    assert list(repository.versions("other")) == []


def test_the_head_moves_forward_only(repository: Repository, tree: Path) -> None:
    first, second = (write_set(tree, "cartpole", steps).stem for steps in (100, 200))
    newer = push_set(repository, RUN, tree, second)
    older = push_set(repository, RUN, tree, first)
    assert (newer.advanced, older.advanced) == (True, False)
    head = read_head(repository, RUN, "cartpole")
    assert head is not None
    assert (head.version, head.sequence, head.reason) == (newer.version, 1, "push")
    assert list(list_heads(repository)) == [(RUN, "cartpole")]


def test_rolling_back_is_a_move_and_erases_nothing(repository: Repository, tree: Path) -> None:
    first, second = (push_set(repository, RUN, tree, write_set(tree, "cartpole", steps).stem) for steps in (100, 200))
    moved = move_head(repository, second.head, first.version, reason=ROLLBACK)
    assert (moved.sequence, moved.previous, moved.reason) == (3, second.version, ROLLBACK)
    assert read_head(repository, RUN, "cartpole") == moved
    assert len(list(repository.versions())) == 2


def test_what_still_runs_does_not_undo_a_rollback(repository: Repository, tree: Path) -> None:
    first, second = (push_set(repository, RUN, tree, write_set(tree, "cartpole", steps).stem) for steps in (100, 200))
    with pushing(repository) as pusher:
        pusher.push(RUN, tree, write_set(tree, "cartpole", 300).stem)
        move_head(repository, read_head(repository, RUN, "cartpole"), first.version, reason=ROLLBACK)
        late = pusher.push(RUN, tree, write_set(tree, "cartpole", 400).stem)
    assert not late.advanced
    assert late.head is not None
    assert late.head.version == first.version
    assert not push_set(repository, RUN, tree, second.version.stem).advanced
    led = push_set(repository, RUN, tree, write_set(tree, "cartpole", 150, generation=2).stem)
    assert led.advanced
    assert not push_set(repository, RUN, tree, write_set(tree, "cartpole", 500).stem).advanced


def test_a_head_moves_only_from_where_it_was_seen(repository: Repository, tree: Path) -> None:
    first = push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem)
    second = push_set(repository, RUN, tree, write_set(tree, "cartpole", 200).stem)
    for seen in (None, first.head):
        with pytest.raises(LockedError, match="moved by somebody else"):
            move_head(repository, seen, first.version, reason=ROLLBACK)
    assert read_head(repository, RUN, "cartpole") == second.head


def test_a_head_names_nothing_that_is_not_there(repository: Repository) -> None:
    with pytest.raises(NothingFoundError):
        move_head(
            repository,
            None,
            VersionKey.of(RUN, manifest_of("cartpole", 1, {}, digest="sha256:" + "0" * 64)),
            reason="x",
        )


def test_tags(repository: Repository, tree: Path) -> None:
    first, second = (
        push_set(repository, RUN, tree, write_set(tree, "cartpole", steps).stem).version for steps in (100, 200)
    )
    assert set_tag(repository, first, "good").version == first
    with pytest.raises(UsageError, match="already"):
        set_tag(repository, second, "good")
    set_tag(repository, second, "good", move=True)
    assert read_tag(repository, RUN, "cartpole", "good").version == second
    assert [tag.name for tag in list_tags(repository, RUN, "cartpole")] == ["good"]
    remove_tag(repository, RUN, "cartpole", "good")
    assert list_tags(repository, RUN, "cartpole") == []
    with pytest.raises(NothingFoundError):
        read_tag(repository, RUN, "cartpole", "good")
    with pytest.raises(UsageError):
        set_tag(repository, first, "../good")


def test_removing_keeps_what_is_named_and_what_is_needed(repository: Repository, tree: Path, tmp_path: Path) -> None:
    pushed = [
        push_set(repository, RUN, tree, write_set(tree, "cartpole", steps, rows=(0, 100, steps)).stem).version
        for steps in (150, 250, 350)
    ]
    set_tag(repository, pushed[0], "keep")
    repository.store.put("objects/foreign", b"somebody else's")
    with removing(repository) as remover:
        for named, word in ((pushed[0], "keep"), (pushed[2], "head")):
            with pytest.raises(UsageError, match=word):
                remover.remove([pushed[1], named])
        remover.remove([pushed[1]])
        foreseen = remover.sweep(dry_run=True)
        assert remover.sweep() == foreseen
        assert foreseen.objects == 1
        assert remover.sweep().objects == 0
    assert list(repository.versions()) == [pushed[0], pushed[2]]
    assert list(scrub(repository)) == []
    assert repository.store.head("objects/foreign") is not None
    pull_set(repository, pushed[2], tmp_path)


def test_nothing_is_removed_while_somebody_pushes(repository: Repository, tree: Path) -> None:
    with pushing(repository) as pusher:
        with pytest.raises(LockedError, match="a push"), removing(repository):
            pass
        pusher.push(RUN, tree, write_set(tree, "cartpole", 100).stem)
    with removing(repository), pytest.raises(LockedError, match="a removal"), pushing(repository, wait_seconds=0):
        pass
    with pushing(repository), pushing(repository):
        pass
    assert list(repository.store.list("claims/")) == []


def test_nothing_gets_a_name_while_somebody_removes(
    repository: Repository, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "_WAIT_SECONDS", 0)
    pushed = push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem)
    with removing(repository):
        with pytest.raises(LockedError, match="a removal"):
            move_head(repository, pushed.head, pushed.version, reason=ROLLBACK)
        with pytest.raises(LockedError, match="a removal"):
            set_tag(repository, pushed.version, "good")


def test_claims_of_the_dead_do_not_last(repository: Repository, tree: Path) -> None:
    repository.store.put("claims/push/0123456789abcdef.json", b"left by a process that was killed")
    with pytest.raises(LockedError, match="somebody is at work"), removing(repository):
        pass
    with removing(repository, lease_seconds=-3_600):
        pass
    assert list(repository.store.list("claims/")) == []


def test_who_was_taken_for_dead_commits_nothing(
    repository: Repository, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_BELIEVED_SHARE", 0)  # as if it had stood still for long
    stem = write_set(tree, "cartpole", 100).stem
    with pushing(repository) as pusher:
        for info in list(repository.store.list("claims/push/")):
            repository.store.delete(info.key)
        with pytest.raises(LockedError, match="stood still"):
            pusher.push(RUN, tree, stem)
    assert list(repository.versions()) == []


def test_a_claim_is_renewed_while_it_is_there(repository: Repository) -> None:
    store = repository.store
    with claims.held(store, "push", (), what="the push") as claim:
        claim.renew()
        claim.renew()
        store.delete(claim.key)
        with pytest.raises(LockedError, match="stood still"):
            claim.renew()
        assert store.head(claim.key) is None


def test_who_waits_goes_on_when_the_other_has_ended(repository: Repository) -> None:
    store = repository.store
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            store.delete("claims/collect/0123456789abcdef.json")

    store.put("claims/collect/0123456789abcdef.json", b"somebody's")
    with claims.held(store, "push", ("collect",), what="the push", wait_seconds=60, sleep=sleep):
        assert len(list(store.list("claims/push/"))) == 1
    assert len(slept) == 3
    store.put("claims/collect/0123456789abcdef.json", b"somebody's")
    slept[:] = [0.0] * 3
    with (
        pytest.raises(LockedError, match="has to wait"),
        claims.held(store, "push", ("collect",), what="the push", wait_seconds=60, sleep=slept.append),
    ):
        pass
    assert 60 <= sum(slept) < 70
    assert list(store.list("claims/push/")) == []


def test_a_damaged_version_stops_the_sweep(repository: Repository, tree: Path) -> None:
    version = push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem).version
    data = repository.store.read(version.key, limit=1 << 20).data
    repository.store.put(version.key, data[:-10])
    with removing(repository) as remover, pytest.raises(CorruptError, match="nothing is removed"):
        remover.sweep()
    assert objects(repository)


def test_opening(fast_folder: Path) -> None:
    store = FolderStore(fast_folder / "store")
    with pytest.raises(NothingFoundError, match="no repository"):
        open_repository(store)
    made = create_repository(store)
    assert made.conditional
    assert create_repository(store) == made == open_repository(store)
    assert [info.key for info in store.list()] == [keys.FORMAT_KEY]


def test_a_repository_for_conditional_writes_is_not_opened_without_them(fast_folder: Path) -> None:
    create_repository(FolderStore(fast_folder / "store"))
    with pytest.raises(UsageError, match="conditional"):
        open_repository(FsspecStore(f"local://{fast_folder}/store"))


def test_what_else_lies_in_the_store_is_left_alone(fast_folder: Path, tree: Path) -> None:
    store = FolderStore(fast_folder / "store")
    store.put("thesis.tex", b"mine")
    store.put("objects/ab/notes", b"mine too")
    repository = create_repository(store)
    push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem)
    with removing(repository) as remover:
        remover.sweep()
    assert store.head("thesis.tex")
    assert store.head("objects/ab/notes")


class Lying(FolderStore):
    """Takes conditions and does as it likes, as some servers do."""

    def put(self, key: str, data: bytes, **conditions: object) -> str:
        return super().put(key, data)


def test_a_store_that_does_not_keep_conditions_is_found_out(fast_folder: Path) -> None:
    repository = create_repository(Lying(fast_folder / "store"))
    assert not repository.conditional


class Forgetting(FolderStore):
    """Says that it has written, and has not."""

    def put(self, key: str, data: bytes, **conditions: object) -> str:
        return "version"


class Late(FolderStore):
    """Lists nothing that was written a moment ago, as stores do that become consistent some day."""

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix, after=after) if not info.key.startswith(keys.CLAIMS))


def test_a_store_that_forgets_what_it_is_sent_is_found_out(fast_folder: Path, tree: Path) -> None:
    create_repository(FolderStore(fast_folder / "store"))
    repository = open_repository(Forgetting(fast_folder / "store"))
    with pytest.raises(ServiceError, match="it is not there"):
        push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem)


def test_nothing_is_removed_from_a_store_that_lists_late(fast_folder: Path) -> None:
    create_repository(FolderStore(fast_folder / "store"))
    repository = open_repository(Late(fast_folder / "store"))
    with pytest.raises(ServiceError, match="does not list"), removing(repository):
        raise AssertionError("nobody gets here")


class Refusing(FolderStore):
    """Lets nobody in any more, from one kind of key on."""

    prefix = ""

    def read(self, key: str, *, limit: int) -> Stored:
        if key.startswith(self.prefix):
            raise CredentialsError("the credentials have expired")
        return super().read(key, limit=limit)


@pytest.mark.parametrize("prefix", [keys.VERSIONS, keys.HEADS, keys.TAGS, keys.FORMAT_KEY])
def test_a_store_that_cannot_be_read_is_not_called_damaged(fast_folder: Path, tree: Path, prefix: str) -> None:
    store = Refusing(fast_folder / "store")
    store.prefix = "nothing"
    repository = create_repository(store)
    set_tag(repository, push_set(repository, RUN, tree, write_set(tree, "cartpole", 100).stem).version, "good")
    store.prefix = prefix
    with pytest.raises(CredentialsError):
        list(scrub(repository))


@pytest.mark.parametrize("seconds", [-10 * 365 * 86_400, 3_600])
def test_a_claim_is_judged_by_the_clock_of_the_store(fast_folder: Path, seconds: float) -> None:
    """One that lies in the past is dead; of one in the future nobody knows, so it counts."""
    repository = create_repository(FolderStore(fast_folder / "store"))
    key = keys.claim_key("push", "0123456789abcdef")
    repository.store.put(key, b"somebody's")
    at = time.time() + seconds
    os.utime(fast_folder / "store" / key, (at, at))
    if seconds > 0:
        with pytest.raises(LockedError), removing(repository):
            pass
    else:
        with removing(repository):
            assert repository.store.head(key) is None


@pytest.mark.slow
def test_a_push_that_was_cut_short_sends_little_again(repository: Repository, tree: Path) -> None:
    stem = write_large_set(tree, 1000, {"model": os.urandom(30_000_000)}).stem
    pushed = push_set(repository, RUN, tree, stem)
    assert pushed.sent_bytes == 30_000_000
    repository.store.delete(keys.head_key(RUN, "cartpole"))
    repository.store.delete(pushed.version.key)
    assert push_set(repository, RUN, tree, stem).sent_bytes == 8 << 20


@pytest.mark.slow
def test_large_files_go_into_several_objects_and_resume(repository: Repository, tree: Path, tmp_path: Path) -> None:
    manifest = write_large_set(tree, 1000, {"model": os.urandom(9_000_000)})
    version = push_set(repository, RUN, tree, manifest.stem).version
    assert sorted(objects(repository).values()) == [9_000_000 - (8 << 20), 8 << 20]
    half = (tree / manifest.model.path).read_bytes()[:3_000_000]
    (tmp_path / f"{manifest.model.path}.partial").write_bytes(half)
    received: list[int] = []
    pull_set(repository, version, tmp_path, progress=received.append)
    assert sum(received) == 9_000_000
    assert_same(tree, tmp_path, manifest)
    (tmp_path / manifest.model.path).unlink()
    (tmp_path / f"{manifest.model.path}.partial").write_bytes(b"x" * 3_000_000)
    pull_set(repository, version, tmp_path)
    assert_same(tree, tmp_path, manifest)
