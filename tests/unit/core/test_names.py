"""Names and ids: one way to build them, nothing unsafe gets through."""

from __future__ import annotations

import pytest

from ckptsync.core import names
from ckptsync.core.errors import UnsafePathError, UsageError
from ckptsync.core.names import StemParts


@pytest.mark.parametrize("name", ["a", "model.zip", "ünïcode", "with space", "-dash", ".hidden", "a" * 255])
def test_a_plain_component_passes_unchanged(name: str) -> None:
    assert names.check_component(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "empty"),
        ("..", "empty"),
        ("a/b", "separator"),
        ("a\\b", "separator"),
        ("C:x", "drive"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("a\x1b[31mb", "control"),
        ("a\x85b", "control"),
        ("a\u202eb", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "Unicode"),
        ("a" * 256, "longer"),
        ("ü" * 128, "longer"),
    ],
)
def test_an_unsafe_component_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(UnsafePathError, match=reason) as caught:
        names.check_component(name)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "C:/x", "C:x", "a//b", "a/../b", "../a", "a/", "", "a/./b", "a\\..\\b"]
)
def test_a_path_that_leads_outside_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        names.check_relative(path)


def test_a_relative_path_is_split() -> None:
    assert names.check_relative("data/models/x.zip") == ("data", "models", "x.zip")


@pytest.mark.parametrize("name", ["cartpole_ppo", "x", "Ünï", "a.b", "a b", "a" * 100, "x_checkpoint_5_steps"])
def test_a_scenario_may_have_this_name(name: str) -> None:
    assert names.check_scenario(name) == name


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", ".a", "-a", " a", "a ", "a" * 101, "ü" * 51])
def test_a_scenario_may_not_have_this_name(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.check_scenario(name)
    assert caught.value.hint is not None


def test_the_longest_scenario_has_files_that_the_disk_takes() -> None:
    stem = names.checkpoint_stem("ü" * 50, 10**18 - 1)
    longest = names.member_name(stem, "vecnormalize", "safetensors")
    assert len(names.check_component(longest).encode()) <= 255
    assert len(names.check_component(stem + names.MANIFEST_SUFFIX).encode()) <= 255


@pytest.mark.parametrize("steps", [-1, 10**18])
def test_no_set_has_this_n(steps: int) -> None:
    with pytest.raises(UsageError, match="num_timesteps"):
        names.checkpoint_stem("a", steps)


@pytest.mark.parametrize(
    ("stem", "parts"),
    [
        ("x_checkpoint_2048_steps", StemParts("x", 2048)),
        ("x_checkpoint_0_steps", StemParts("x", 0)),
        ("a_checkpoint_1_steps_checkpoint_2_steps", StemParts("a_checkpoint_1_steps", 2)),
        ("line\nbreak_checkpoint_5_steps", StemParts("line\nbreak", 5)),
        ("x_checkpoint_007_steps", None),
        ("x_checkpoint_-1_steps", None),
        ("x_checkpoint_1e3_steps", None),
        ("x_checkpoint_٣_steps", None),
        ("x_checkpoint_1234567890123456789_steps", None),
        ("_checkpoint_5_steps", None),
        ("x_checkpoint__steps", None),
        ("x_checkpoint_5_step", None),
        ("rl_model_2000_steps", None),
        ("best_model", None),
    ],
)
def test_a_stem_is_parsed_or_is_none(stem: str, parts: StemParts | None) -> None:
    assert names.parse_stem(stem) == parts


def test_a_classic_stem_is_parsed_when_asked() -> None:
    assert names.parse_stem("rl_model_2000_steps", classic=True) == StemParts("rl_model", 2000)
    assert names.parse_stem("x_checkpoint_5_steps", classic=True) == StemParts("x", 5)
    assert names.parse_stem("best_model", classic=True) is None


def test_a_member_belongs_to_its_set() -> None:
    assert names.check_member("x_checkpoint_5_steps", "x_checkpoint_5_steps.zip") == "x_checkpoint_5_steps.zip"
    for name in ("x_checkpoint_50_steps.zip", "x_checkpoint_5_steps", "../x_checkpoint_5_steps.zip", "x_head.json"):
        with pytest.raises(UnsafePathError):
            names.check_member("x_checkpoint_5_steps", name)


def test_a_segment_goes_there_and_back() -> None:
    digest = "sha256:0123456789abcdef" + "0" * 48
    name = names.segment_name(0, 10**18 - 1, digest)
    assert name == f"0-{10**18 - 1}-0123456789abcdef.safetensors"
    assert names.parse_segment(name) == names.SegmentParts(0, 10**18 - 1, "0123456789abcdef")
    assert names.check_segment("a", f"a_replay/{name}") == names.parse_segment(name)
    assert names.parse_segment_folder(names.segment_folder("a")) == "a"


@pytest.mark.parametrize("name", ["a", "_replay", ".a_replay", "a/b_replay", "a_Replay", "a" * 101 + "_replay"])
def test_what_is_no_folder_of_segments(name: str) -> None:
    assert names.parse_segment_folder(name) is None


def test_a_temporary_name_is_told_from_a_users_file() -> None:
    temporary = names.temporary_name("x.zip", "0123abcd")
    assert names.is_temporary(temporary)
    for name in ("x.zip", ".x.tmp", ".x.zip.backup.tmp", "x.0123abcd.tmp", ".0123abcd.tmp", ".x.zip.0123abcd.tmp~"):
        assert not names.is_temporary(name)


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "\udcff" * 255])
def test_the_temporary_name_of_a_long_name_fits(name: str) -> None:
    temporary = names.temporary_name(name, "0123abcd")
    assert len(temporary.encode(errors="surrogateescape")) <= 255
    assert names.is_temporary(temporary)


def test_a_session_id_goes_there_and_back() -> None:
    assert names.session_id("cartpole", 3) == "cartpole/s0003"
    assert names.parse_session_id("cartpole/s0003") == ("cartpole", 3)
    assert names.parse_session_id(names.session_id("a", 123_456)) == ("a", 123_456)


@pytest.mark.parametrize(
    "text",
    ["", "cartpole", "cartpole/3", "cartpole/s003", "cartpole/s00003", "/s0003", "a/b/s0003", "../s0003", "a/s0003\n"],
)
def test_what_is_no_session_id(text: str) -> None:
    with pytest.raises(UsageError):
        names.parse_session_id(text)


def test_foreign_text_is_printable() -> None:
    assert names.printable("a\nb\x1b\u202e") == r"'a\nb\x1b\u202e'"
    assert len(names.printable("x" * 1_000)) < 220


@pytest.mark.parametrize(
    "name", ["KAGGLE_KEY", "hf_token", "WANDB_API_KEY", "wandb_apikey", "DB_PASSWORD", "max_tokens"]
)
def test_what_is_called_a_secret(name: str) -> None:
    assert names.names_secret(name)


@pytest.mark.parametrize("name", ["tokenizer", "TOKENIZERS_PARALLELISM", "lr", "key", "PATH"])
def test_what_is_not(name: str) -> None:
    assert not names.names_secret(name)
