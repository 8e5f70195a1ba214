"""Names for any text: what is built is parsed back, and nothing unsafe gets through."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import assume, example, given
from hypothesis import strategies as st

from ckptsync.core import names
from ckptsync.core.errors import UnsafePathError, UsageError

TEXT = st.text(st.characters(exclude_categories=[]), max_size=120)
NASTY = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "a", "C:", "\x00", "\n", "ü", " ", "\udcff", "~"]), max_size=6
).map("".join)
STEPS = st.integers(min_value=0, max_value=10**18 - 1)


def _may_be_a_scenario(text: str) -> bool:
    try:
        names.check_scenario(text)
    except UsageError:
        return False
    return True


SCENARIO = (
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=24)
    | st.from_regex(r"[a-z]{1,3}(_checkpoint_[0-9]{1,2}_steps|_head|\.zip| x)?", fullmatch=True)
).filter(_may_be_a_scenario)


@given(SCENARIO, STEPS)
@example("a_checkpoint_5_steps", 7)
@example("a_head", 0)
def test_a_stem_is_parsed_back(text: str, steps: int) -> None:
    stem = names.checkpoint_stem(text, steps)
    assert names.parse_stem(stem) == names.StemParts(text, steps)
    assert names.parse_stem(stem, classic=True) == names.StemParts(text, steps)
    assert names.check_member(stem, names.model_name(stem))


@given(SCENARIO, STEPS, SCENARIO, STEPS)
def test_two_sets_never_share_a_file(one: str, first: int, other: str, second: int) -> None:
    assume((one, first) != (other, second))
    stem, another = names.checkpoint_stem(one, first), names.checkpoint_stem(other, second)
    for name in (names.model_name(another), names.member_name(another, "resume", "safetensors")):
        try:
            names.check_member(stem, name)
        except UnsafePathError:
            continue
        raise AssertionError(f"{name} passes for a file of {stem}")


@given(TEXT | NASTY)
def test_a_component_that_passes_is_one_component_everywhere(text: str) -> None:
    try:
        names.check_component(text)
    except UnsafePathError as error:
        assert error.message.isprintable()
        return
    assert PurePosixPath(text).parts == (text,)
    assert len(PureWindowsPath(text).parts) == 1
    assert text.isprintable() or not any(ord(char) < 32 for char in text)
    assert len(os.fsencode(text)) <= 255


@given(TEXT | NASTY)
def test_a_relative_path_that_passes_stays_below(text: str) -> None:
    try:
        parts = names.check_relative(text)
    except UnsafePathError:
        return
    joined = os.path.normpath(os.path.join("/folder", *parts))
    assert joined == "/folder/" + text
    assert not PureWindowsPath(text).drive


@given(SCENARIO, st.integers(min_value=0, max_value=10**9 - 1))
def test_a_session_id_is_parsed_back(text: str, number: int) -> None:
    assert names.parse_session_id(names.session_id(text, number)) == (text, number)


@given(TEXT | NASTY)
def test_what_is_parsed_as_a_session_id_has_this_one_spelling(text: str) -> None:
    try:
        run, number = names.parse_session_id(text)
    except UsageError:
        return
    assert names.session_id(run, number) == text


@given(TEXT)
def test_a_temporary_name_is_always_known_and_fits(text: str) -> None:
    assume("\x00" not in text and "/" not in text)
    name = text.encode(errors="ignore").decode() or "x"
    temporary = names.temporary_name(name, "0123abcd")
    assert names.is_temporary(temporary)
    assert len(temporary.encode(errors="surrogateescape")) <= 255
