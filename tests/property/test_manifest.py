"""Manifests of any content: there and back without a change; any other bytes are refused, by name and never by a crash."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from support.toysets import digest_of, files_of, manifest_of

from ckptsync.core import jsonio
from ckptsync.core.manifest import FIDELITIES, KINDS, Manifest, ManifestError, Origin
from ckptsync.core.signature import Signature, TensorSpec

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
COUNT = st.integers(0, 10**12)
DIGEST = st.binary(max_size=4).map(digest_of)
SESSION = st.none() | st.integers(0, 99_999).map(lambda number: f"cartpole/s{number:04d}")
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
SIGNATURES = st.builds(
    Signature,
    algorithm=st.none() | TEXT,
    policy=st.none() | TEXT,
    observation_space=st.none() | st.dictionaries(TEXT, JSON, max_size=2),
    parameters=st.dictionaries(TEXT, st.builds(TensorSpec, st.lists(COUNT, max_size=3).map(tuple), TEXT), max_size=3),
    net_arch=st.none() | st.lists(st.integers(1, 512), max_size=3),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that a session may write."""
    steps = draw(COUNT)
    return manifest_of(
        "cartpole",
        steps,
        files_of("cartpole", steps, members=draw(st.integers(1, 4)), salt=draw(COUNT)),
        sorted(draw(st.sets(COUNT, max_size=4))),
        kind=draw(st.sampled_from(KINDS)),
        signature=draw(SIGNATURES),
        generation=draw(COUNT),
        session=draw(SESSION),
        version=draw(TEXT),
        parent=draw(st.none() | DIGEST),
        resumed_from=draw(st.none() | st.builds(Origin, SESSION, COUNT, DIGEST)),
        captured=draw(st.sampled_from(FIDELITIES)),
        captured_reasons=tuple(draw(st.lists(TEXT, max_size=2))),
        versions=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        metrics=draw(st.dictionaries(TEXT, NUMBER, max_size=3)),
        created_at=draw(TEXT),
        extra=draw(st.dictionaries(TEXT.map(lambda key: f"x-{key}"), JSON, max_size=2)),
    )


@given(manifests())
def test_there_and_back_byte_for_byte(manifest: Manifest) -> None:
    data = manifest.serialise()
    parsed = Manifest.parse(data)
    assert parsed.serialise() == data
    assert parsed.body() == manifest.body()


@given(manifests(), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_that_changes_what_is_said_is_refused(manifest: Manifest, at: int, mask: int) -> None:
    data = bytearray(manifest.serialise())
    data[at % (len(data) - 1)] ^= mask
    try:
        parsed = Manifest.parse(bytes(data))
    except ManifestError:
        return
    # 4e-324 is another spelling of the number 5e-324: what the manifest says is unchanged
    assert parsed.body() == manifest.body(), "a changed manifest was read"


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    try:
        Manifest.parse(data)
    except ManifestError as error:
        assert error.finding.verdict is not None
        return
    raise AssertionError("this is no manifest")


@given(manifests(), st.data())
def test_any_field_of_another_kind_is_refused_by_name_or_read_as_it_is(manifest: Manifest, data: st.DataObject) -> None:
    body = manifest.body()
    field = data.draw(st.sampled_from(sorted(body)))
    value: Any = data.draw(JSON)
    assume(value != body[field])
    resealed = {**body, field: value}
    digest = digest_of(jsonio.canonical(resealed))
    try:
        parsed = Manifest.parse(jsonio.canonical({**resealed, "digest": digest}))
    except ManifestError as error:
        assert error.finding.verdict is not None
    else:
        assert parsed.body()[field] == value
