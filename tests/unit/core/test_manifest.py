"""Manifests: a lie, a damage or an unknown form is named; nothing else changes on the way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from support.toysets import digest_of, files_of, manifest_of

from ckptsync.core import jsonio
from ckptsync.core.errors import CorruptError
from ckptsync.core.manifest import Manifest, ManifestError, Origin

FILES = files_of("cartpole", 100, members=3)
MANIFEST = manifest_of(
    "cartpole",
    100,
    FILES,
    version="2",
    parent=digest_of(b"parent"),
    resumed_from=Origin("cartpole/s0001", 50, digest_of(b"origin")),
    captured="state",
    captured_reasons=("the environment cannot be pickled",),
    versions={"python": "3.11.7"},
    metrics={"ep_rew_mean": 12.5, "episodes": 3},
)


def reseal(change: dict[str, Any], *, drop: str | None = None) -> bytes:
    """Return the manifest with some fields changed and a digest that fits: a liar's work."""
    body = {**MANIFEST.body(), **change}
    if drop:
        del body[drop]
    digest = "sha256:" + hashlib.sha256(jsonio.canonical(body)).hexdigest()
    return jsonio.canonical({**body, "digest": digest})


def finding_of(data: bytes) -> Any:
    """Return the finding that parsing ends with."""
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(data, name="the.manifest.json")
    assert isinstance(caught.value, CorruptError)
    assert caught.value.finding.subject == "the.manifest.json"
    return caught.value.finding


def test_there_and_back() -> None:
    data = MANIFEST.serialise()
    parsed = Manifest.parse(data)
    assert parsed.digest
    assert parsed.serialise() == data
    assert {**parsed.body()} == {**MANIFEST.body()}
    assert data.endswith(b'"}\n')
    assert data.count(b"\n") == 1


def test_a_liar_can_reseal_so_these_tests_do() -> None:
    assert Manifest.parse(reseal({})).num_timesteps == 100


def test_unknown_fields_are_kept() -> None:
    parsed = Manifest.parse(reseal({"novelty": {"b": 1, "a": [1, 2]}}))
    assert parsed.extra == {"novelty": {"b": 1, "a": [1, 2]}}
    assert json.loads(parsed.serialise())["novelty"] == {"a": [1, 2], "b": 1}


def test_the_digest_counts_in_any_layout() -> None:
    value = json.loads(MANIFEST.serialise())
    assert Manifest.parse(json.dumps(value, indent=1).encode()).digest == value["digest"]


def test_one_flipped_bit_anywhere_is_found() -> None:
    data = MANIFEST.serialise()
    for at in range(len(data) - 1):  # behind the last brace is only the line break
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        assert finding_of(bytes(flipped)).code in ("manifest.damaged", "manifest.schema", "path.escape")


def test_a_truncated_manifest_is_damaged() -> None:
    data = MANIFEST.serialise()
    for end in range(len(data) - 1):
        assert finding_of(data[:end]).code == "manifest.damaged"


@pytest.mark.parametrize("schema", ["ckptsync.manifest/2", "other/1"])
def test_an_unknown_schema_is_unreadable(schema: str) -> None:
    finding = finding_of(reseal({"schema": schema}))
    assert (finding.code, finding.actual) == ("manifest.schema", schema)
    assert ("newer" in finding.hint) == schema.startswith("ckptsync")


@pytest.mark.parametrize(
    "path",
    [
        "../cartpole_checkpoint_100_steps.zip",
        "/etc/passwd",
        "cartpole_checkpoint_100_steps.a/b",
        "cartpole_checkpoint_200_steps.zip",
        "cartpole_head.json",
        "cartpole_checkpoint_100_steps.\n",
    ],
)
def test_a_path_that_is_not_the_sets_own_escapes(path: str) -> None:
    files = MANIFEST.body()["files"]
    assert finding_of(reseal({"files": [files[0], {**files[1], "path": path}]})).code == "path.escape"


def _file(**change: Any) -> list[dict[str, Any]]:
    first, *others = MANIFEST.body()["files"]
    return [{**first, **change}, *others]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 1),
        ("scenario", "a/b"),
        ("scenario", ""),
        ("num_timesteps", -1),
        ("num_timesteps", 1.5),
        ("num_timesteps", True),
        ("num_timesteps", 10**18),
        ("kind", "weekly"),
        ("files", []),
        ("files", {}),
        ("files", ["x"]),
        ("files", _file(role="resume")),
        ("files", _file(role="other")),
        ("files", _file(size_bytes=-1)),
        ("files", _file(size_bytes="3")),
        ("files", _file(digest="md5:0")),
        ("files", _file(content="x")),
        ("files", [_file()[0], _file()[0]]),
        ("files", [_file()[0], {**_file()[1], "path": "cartpole_checkpoint_100_steps.ZIP"}]),
        ("files", [{**_file()[1], "role": "model"}]),
        ("signature", None),
        ("signature", {"parameters": []}),
        ("lineage", 5),
        ("generation", None),
        ("session", "no session"),
        ("session", "../x/s0001"),
        ("version", 2),
        ("parent", "x"),
        ("resumed_from", []),
        ("resumed_from", {"session": None, "num_timesteps": 5}),
        ("resumed_from", {"session": 1, "num_timesteps": 5, "digest": digest_of(b"")}),
        ("fidelity", "exact"),
        ("fidelity", {"captured": "perfect", "reasons": []}),
        ("fidelity", {"captured": "exact", "reasons": 5}),
        ("fidelity", {"captured": "exact", "reasons": "text"}),
        ("versions", []),
        ("versions", {"python": 3.11}),
        ("metrics", {"reward": "high"}),
        ("metrics", {"reward": True}),
        ("created_at", None),
    ],
)
def test_a_lying_field_is_damage_even_under_a_fitting_digest(field: str, value: Any) -> None:
    assert finding_of(reseal({field: value})).code == "manifest.damaged"


@pytest.mark.parametrize(
    "field", [name for name in MANIFEST.body() if name not in ("session", "parent", "resumed_from")]
)
def test_a_missing_field_is_damage(field: str) -> None:
    assert finding_of(reseal({}, drop=field)).code == "manifest.damaged"


@pytest.mark.parametrize("lineage", ["..", "a/b", "", "a\nb"])
def test_a_lineage_may_stand_in_a_path(lineage: str) -> None:
    assert finding_of(reseal({"lineage": lineage})).code == "path.escape"


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b'{"schema":"ckptsync.manifest/1"}'])
def test_what_is_no_manifest(data: bytes) -> None:
    assert finding_of(data).code == "manifest.damaged"


def test_deep_nesting_is_damage_not_a_crash() -> None:
    deep = b'{"schema":"ckptsync.manifest/1","digest":"' + digest_of(b"").encode() + b'","x":' + b"[" * 900 + b"]" * 900
    assert finding_of(deep + b"}").code == "manifest.damaged"
    assert finding_of(deep.replace(b"[" * 900, b"[" * 90_000)).code == "manifest.damaged"


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_sealed(reward: float) -> None:
    with pytest.raises(ValueError):
        manifest_of("cartpole", 100, FILES, metrics={"ep_rew_mean": reward}).serialise()


def test_what_it_says() -> None:
    assert MANIFEST.stem == "cartpole_checkpoint_100_steps"
    assert MANIFEST.model.role == "model"
    assert MANIFEST.order == (1, 100)
    assert MANIFEST.size_bytes == 9_000
    assert MANIFEST.entry("vecnormalize") == MANIFEST.files[2]
    assert MANIFEST.entry("replay") is None


SHARED = manifest_of("cartpole", 100, FILES, [0, 10, 25])


def segments_of(change: Any) -> bytes:
    """Return the manifest with changed segments and a digest that fits."""
    files = [entry.to_json() for entry in SHARED.files]
    own, segments = files[:-2], files[-2:]
    change(segments)
    return reseal({"files": [*own, *segments]})


def test_segments_are_shared_files() -> None:
    parsed = Manifest.parse(SHARED.serialise())
    assert parsed.files == SHARED.files
    assert (parsed.members, len(parsed.segments)) == (MANIFEST.files, 2)
    assert parsed.size_bytes == 15_000


@pytest.mark.parametrize(
    "path",
    [
        "{name}",
        "../cartpole_replay/{name}",
        "/cartpole_replay/{name}",
        "cartpole_replay/../cartpole_replay/{name}",
        "cartpole_replay//{name}",
        "cartpole_replay/./{name}",
        "cartpole_replay\\{name}",
        "Cartpole_replay/{name}",
        "other_replay/{name}",
        "cartpole_replay/sub/{name}",
        "cartpole_replay/{name}\n",
        "cartpole_replay/0{name}",
        "cartpole_replay/{upper}",
        "cartpole_replay/10-0-{digest}.safetensors",
        "cartpole_replay/5-5-{digest}.safetensors",
        "cartpole_replay/0-{digest}.safetensors",
        "cartpole_checkpoint_100_steps.replay.bin",
        "",
    ],
)
def test_a_segment_lies_in_its_scenarios_folder_under_a_name_of_its_own(path: str) -> None:
    name = SHARED.segments[0].path.partition("/")[2]
    digest = SHARED.segments[0].digest.removeprefix("sha256:")[:16]
    wrong = path.format(name=name, upper=name.upper(), digest=digest)
    assert finding_of(segments_of(lambda found: found[0].update(path=wrong))).code == "path.escape"


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found[0].update(digest=digest_of(b"other")),
        lambda found: found.reverse(),
        lambda found: found.append(found[1]),
        lambda found: found.insert(0, found[0]),
        lambda found: found.append(
            {**found[1], "path": found[1]["path"].replace("/10-25-", "/24-40-")},
        ),
        lambda found: found[0].update(size_bytes=-1),
        lambda found: found[0].update(role="shared"),
    ],
    ids=["digest", "order", "twice", "twice in a row", "overlap", "size", "role"],
)
def test_segments_that_make_no_sense_are_damage(change: Any) -> None:
    assert finding_of(segments_of(change)).code == "manifest.damaged"


def test_no_member_lies_among_the_segments_and_no_segment_is_a_member() -> None:
    assert finding_of(segments_of(lambda found: found[0].update(role="replay"))).code == "path.escape"
