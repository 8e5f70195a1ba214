"""The page on the repository is enough to read one: this reader knows that page, and nothing of ckptsync."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from support import pages
from support.largesets import safetensors, write_large_set
from support.toysets import payload, write_set

from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import claims, create_repository, keys, push_set, refs, repository, set_tag, versions

PAGE = pages.REFERENCE / "repository.md"


def document(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    value = json.loads(data)
    digest = value.pop("digest")
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    assert digest == "sha256:" + hashlib.sha256(canonical).hexdigest()
    assert data == canonical[:-1] + b',"digest":"' + digest.encode() + b'"}\n'
    return dict(value)


def files_of(store: Path, version: dict[str, Any]) -> dict[str, bytes]:
    manifest = json.loads(version["manifest"])
    found = {}
    for stored, entry in zip(version["files"], manifest["files"], strict=True):
        data = b""
        for place, offset, size in stored["pieces"]:
            digest, length = version["objects"][place]
            name = digest.removeprefix("sha256:")
            content = (store / "objects" / name[:2] / name).read_bytes()
            assert len(content) == length
            assert hashlib.sha256(content).hexdigest() == name
            data += content[offset : offset + size]
        assert stored["path"] == entry["path"]
        assert (len(data), "sha256:" + hashlib.sha256(data).hexdigest()) == (entry["size_bytes"], entry["digest"])
        for offset, size, digest in stored.get("ranges", []):
            part = data[offset : offset + size]
            assert digest == "blake2b:" + hashlib.blake2b(part, digest_size=32).hexdigest()
        found[entry["path"]] = data
    return found


def test_a_reader_that_knows_the_page_alone_gets_every_byte(tmp_path: Path) -> None:
    tree, store = tmp_path / "tree", tmp_path / "store"
    made = create_repository(FolderStore(store))
    tensors = {f"{number}": payload(number, size=300_000) for number in range(5)}
    stems = [write_set(tree, "cartpole", 100, members=4, rows=(0, 50, 100)).stem]
    for steps, salt in ((200, "one"), (300, "two")):
        changed = {**tensors, "2": payload(salt, size=300_000)}
        stems.append(write_large_set(tree, steps, {"model": safetensors(changed)}).stem)
    for stem in stems:
        pushed = push_set(made, "run", tree, stem)
    set_tag(made, pushed.version, "good")

    assert document(store / "ckptsync-repository.json")["schema"] == repository.SCHEMA
    paths = sorted((store / "versions").rglob("*.json"))
    assert len(paths) == 3
    for path, stem in zip(paths, stems, strict=True):
        version = document(path)
        run, _scenario, lineage, generation, name = path.relative_to(store / "versions").parts
        manifest = json.loads(version["manifest"])
        assert (run, lineage, int(generation)) == (version["run"], manifest["lineage"], manifest["generation"])
        steps, kind, score, digest = name.removesuffix(".json").split("-")
        assert (int(steps), kind, score) == (manifest["num_timesteps"], manifest["kind"], "none")
        assert f"sha256:{digest}" == manifest["digest"]
        assert version["manifest"].encode() == (tree / f"{stem}.manifest.json").read_bytes()
        for file, data in files_of(store, version).items():
            assert data == (tree / file).read_bytes()
    newest = paths[-1].relative_to(store).as_posix()
    assert document(store / "heads" / "run" / "cartpole.json")["version"] == newest
    assert document(store / "tags" / "run" / "cartpole" / "good.json")["version"] == newest


def test_the_page_names_every_schema_and_folder() -> None:
    text = PAGE.read_text("utf-8")
    for schema in (repository.SCHEMA, versions.SCHEMA, refs.HEAD_SCHEMA, refs.TAG_SCHEMA, claims.SCHEMA):
        assert f"`{schema}`" in text
    for folder in (keys.OBJECTS, keys.VERSIONS, keys.HEADS, keys.TAGS, keys.CLAIMS, keys.FORMAT_KEY):
        assert f"\n{folder}" in text
    assert f"{claims.LEASE_SECONDS:.0f} seconds" in text


def test_the_tests_that_it_names_are_there() -> None:
    named = {word for word in PAGE.read_text("utf-8").split("`") if word.startswith("tests/")}
    assert len(named) >= 6
    assert all((pages.ROOT / path).is_file() for path in named)
