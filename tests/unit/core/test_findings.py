"""Findings and verdicts: the contract of `verify`."""

from __future__ import annotations

import pytest

from ckptsync.core.errors import ExitCode
from ckptsync.core.findings import CODES, Finding, Severity, Verdict, blocker, note, verdict_of, warning, worst


@pytest.mark.parametrize(
    ("verdict", "exit_code", "good"),
    [
        ("unsafe", 4, False),
        ("corrupt", 4, False),
        ("unreadable", 4, False),
        ("incompatible", 5, False),
        ("valid", 0, True),
        ("restorable", 0, True),
    ],
)
def test_a_verdict_has_its_exit_code(verdict: str, exit_code: int, good: bool) -> None:
    assert Verdict(verdict).exit_code == ExitCode(exit_code)
    assert Verdict(verdict).good is good


def test_the_worst_counts() -> None:
    assert worst([Verdict.RESTORABLE, Verdict.UNSAFE, Verdict.CORRUPT]) is Verdict.UNSAFE
    assert worst([Verdict.VALID, Verdict.RESTORABLE]) is Verdict.VALID
    assert worst([]) is None


def test_without_blockers_the_comparison_decides() -> None:
    findings = [warning("name.num-timesteps", "x"), note("version.skew", "x")]
    assert verdict_of(findings, compared=True) is Verdict.RESTORABLE
    assert verdict_of(findings, compared=False) is Verdict.VALID


def test_a_blocker_decides_whatever_else_there_is() -> None:
    findings = [warning("version.skew", "x"), blocker("arch.net-arch", "x"), blocker("file.digest", "x")]
    assert verdict_of(findings, compared=True) is Verdict.CORRUPT


def test_a_softened_finding_does_not_decide() -> None:
    assert note("pickle.function-by-value", "lr_schedule").verdict is None
    assert blocker("pickle.function-by-value", "lr_schedule").verdict is Verdict.UNSAFE


@pytest.mark.parametrize("code", [code for code, (verdict, _) in CODES.items() if verdict is None])
def test_some_codes_never_block(code: str) -> None:
    with pytest.raises(ValueError, match="never blocks"):
        blocker(code, "x")
    assert warning(code, "x").verdict is None


def test_every_code_has_a_meaning_and_a_group() -> None:
    for code, (_verdict, meaning) in CODES.items():
        assert meaning
        assert code.count(".") == 1


def test_an_unknown_code_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unknown finding code"):
        Finding("no.such", Severity.NOTE, "x")


def test_a_finding_in_json_and_in_words() -> None:
    finding = blocker("arch.parameter-shape", "net.weight", [128, 4], [64, 4], "the layer changed")
    assert finding.to_json() == {
        "code": "arch.parameter-shape",
        "severity": "blocker",
        "subject": "net.weight",
        "expected": [128, 4],
        "actual": [64, 4],
        "hint": "the layer changed",
    }
    assert str(finding) == "net.weight: a parameter has another shape (expected [128, 4], found [64, 4])"
    assert str(warning("set.torn", "x")) == "x: a save was cut short; its files are no candidate and are swept later"
