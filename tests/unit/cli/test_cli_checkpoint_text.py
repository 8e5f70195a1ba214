from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ckptsync.cli import checkpoint_text
from ckptsync.cli.text import Line, plain
from ckptsync.core.compare import compare
from ckptsync.core.findings import Finding, Verdict, blocker, note, verdict_of, warning
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.core.signature import Signature, TensorSpec
from ckptsync.sync.report import CheckpointReport, FileReport, VerifyReport


def signature(width: int) -> Signature:
    parameters = {
        "policy_net.0.weight": TensorSpec((width, 4), "float32"),
        "policy_net.0.bias": TensorSpec((width,), "float32"),
    }
    box = {"kind": "box", "shape": [4], "dtype": "float32"}
    return Signature("PPO", "ActorCriticPolicy", box, {"kind": "discrete", "n": 2}, parameters, [width, width])


def checkpoint(*findings: Finding, steps: int = 2048, compared: bool = True, sealed: bool = True) -> CheckpointReport:
    path = Path(f"data/models/checkpoints/cart_checkpoint_{steps}_steps.zip")
    digest = "sha256:" + "0" * 64
    manifest = Manifest(
        "cart",
        steps,
        "periodic",
        (FileEntry(path.name, "model", 141_036, digest),),
        signature(64),
        "l0001-abcdef",
        2,
        session="cart/s0002",
        captured="state",
        captured_reasons=("no environment state",),
        versions={"torch": "2.13.0"},
        metrics={"ep_rew_mean": 123.25},
        created_at="2026-01-02T03:04:05Z",
    )
    return CheckpointReport(
        path,
        "cart",
        steps,
        "periodic" if sealed else None,
        sealed,
        sealed,
        verdict_of(findings, compared=compared),
        "PPO",
        (FileReport(path, "model", 141_036, digest),),
        signature(64),
        tuple(findings),
        manifest=manifest if sealed else None,
        not_checked=("bytes of replay",),
        compared_with="the head" if compared else None,
    )


def read(lines: Iterable[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


def test_a_good_checkpoint_is_a_block_of_facts() -> None:
    report = VerifyReport("data/models", (), (checkpoint(),))
    assert read(checkpoint_text.verified(report)) == [
        "restorable    data/models/checkpoints/cart_checkpoint_2048_steps.zip",
        "              PPO · cart · 2,048 steps · periodic · sealed · head · 141.0 kB in 1 file",
        "              compared with the head",
    ]


def test_an_incompatible_one_says_the_words_that_people_search_for() -> None:
    report = VerifyReport("x.zip", (), (checkpoint(*compare(signature(64), signature(128))),))
    lines = [line.strip() for line in read(checkpoint_text.verified(report))]
    assert lines[0].startswith("incompatible  ")
    assert "INCOMPATIBILITY DETECTED:" in lines
    assert "- Architecture: checkpoint=[64, 64], current=[128, 128]" in lines
    assert any("--fresh" in line for line in lines)


def test_findings_come_with_their_hints_and_a_summary_counts() -> None:
    broken = checkpoint(blocker("archive.checksum", "policy.pth", hint="fetch it again"), steps=4096)
    skewed = checkpoint(warning("version.skew", "torch", "2.13.0", "2.0.0", "written with torch 2.0.0"))
    about_all = warning("head.damaged", "cart_head.json")
    lines = read(checkpoint_text.verified(VerifyReport("data/models", (about_all,), (skewed, broken))))
    assert "              version.skew: written with torch 2.0.0 (here 2.13.0)" in lines
    assert any("archive.checksum: policy.pth" in line for line in lines)
    assert "                fetch it again" in lines
    assert any(line.startswith("head.damaged: cart_head.json") for line in lines)
    assert lines[-1] == "corrupt       data/models: 1 corrupt, 1 restorable"


def test_not_sealed_is_said_once() -> None:
    report = VerifyReport("x", (), (checkpoint(note("set.unsealed", "x.zip"), sealed=False, compared=False),))
    lines = read(checkpoint_text.verified(report))
    assert "not sealed" in lines[1]
    assert len(lines) == 2


def test_the_card_tells_everything_that_is_known() -> None:
    card = "\n".join(read(checkpoint_text.shown(VerifyReport("x", (), (checkpoint(),)), every_parameter=False)))
    for words in (
        "restorable: sound and fitting",
        "PPO, policy ActorCriticPolicy",
        "box [4] float32",
        "discrete 2",
        "[64, 64]",
        "l0001-abcdef, generation 2, session cart/s0002",
        "state; no environment state",
        "torch 2.13.0",
        "ep_rew_mean 123.25",
        "sha256:000",
        "bytes of replay",
        "2 parameters, 320 numbers",
        "policy_net.0.weight  [64, 4]  float32",
    ):
        assert words in card


def test_the_card_shortens_long_lists_of_parameters_unless_asked() -> None:
    many = {f"p{number}": TensorSpec((1,), "float32") for number in range(40)}
    report = CheckpointReport(
        Path("x.zip"), None, None, None, False, False, Verdict.VALID, signature=Signature(parameters=many)
    )
    short = read(checkpoint_text.shown(VerifyReport("x", (), (report,)), every_parameter=False))
    long = read(checkpoint_text.shown(VerifyReport("x", (), (report,)), every_parameter=True))
    assert "  ... and 30 more; --all shows them" in short
    assert sum("float32" in line for line in short) == 10
    assert sum("float32" in line for line in long) == 40


def test_nested_spaces_in_words() -> None:
    assert checkpoint_text.space(None) == "-"
    nested = {"kind": "dict", "spaces": {"a": {"kind": "discrete", "n": 3}, "b": {"kind": "multi_binary", "n": 4}}}
    assert checkpoint_text.space(nested) == "dict {a: discrete 3, b: multi_binary 4}"
    pair = {"kind": "tuple", "spaces": [{"kind": "multi_discrete", "nvec": [2, 3]}]}
    assert checkpoint_text.space(pair) == "tuple (multi_discrete [2, 3])"


def test_the_list_is_a_table_with_the_head_marked() -> None:
    report = VerifyReport(
        "data/models", (), (checkpoint(sealed=False, compared=False), checkpoint(steps=4096)), listed_only=True
    )
    lines = read(checkpoint_text.listed(report))
    assert lines[0] == "data/models"
    assert lines[1].split() == ["scenario", "num_timesteps", "kind", "generation", "size", "state", "verdict", "file"]
    assert "not sealed" in lines[2]
    assert " head " in lines[3]
    assert "4,096" in lines[3]


def test_names_from_outside_stay_in_their_line() -> None:
    evil = CheckpointReport(Path("a\nrestorable  b.zip"), "x\x1b[2J", 1, None, False, False, Verdict.CORRUPT)
    report = VerifyReport("t", (), (evil,))
    for lines in (
        checkpoint_text.verified(report),
        checkpoint_text.listed(report),
        checkpoint_text.shown(report, every_parameter=True),
    ):
        for line in read(lines):
            assert line.isprintable()
            assert not line.startswith("restorable")


def sharing(steps: int, *rows: str) -> CheckpointReport:
    one = checkpoint(steps=steps)
    shared = [FileReport(Path(f"data/models/checkpoints/cart_replay/{name}"), "segment", 2_000, None) for name in rows]
    return replace(one, files=(*one.files, *shared))


def test_what_checkpoints_share_is_shown_beside_their_own_and_counts_once_in_the_total() -> None:
    report = VerifyReport("data/models", (), (sharing(10, "0-5", "5-9"), sharing(20, "5-9", "9-20"), checkpoint()))
    lines = read(checkpoint_text.listed(report))
    assert lines[1].split() == [
        *("scenario", "num_timesteps", "kind", "generation", "size", "shared", "state", "verdict", "file")
    ]
    assert lines[2].split()[4:8] == ["141.0", "kB", "4.0", "kB"]
    assert lines[4].split()[4:8] == ["141.0", "kB", "0", "B"]
    assert lines[-1].strip() == "429.1 kB together; what checkpoints share counts once"
    block = read(checkpoint_text.verified(report))
    assert block[1].endswith("141.0 kB in 1 file · 4.0 kB shared in 2 segments")
    card = read(checkpoint_text.shown(VerifyReport("x", (), (sharing(10, "0-5"),)), every_parameter=False))
    assert "  segments      2.0 kB shared in 1 segment" in card
