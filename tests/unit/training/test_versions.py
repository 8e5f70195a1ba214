"""What a checkpoint says of the machine that made it."""

from __future__ import annotations

import sys

from ckptsync.training.versions import current_versions, differences


def test_equal_machines_differ_in_nothing() -> None:
    assert differences(current_versions(), current_versions()) == []


def test_the_processor_and_python_are_told() -> None:
    found = current_versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]
    assert found["cpu_flags"]


def test_differences_are_words() -> None:
    here = {"python": "3.12.1", "torch_threads": "2", "numpy": "2.0"}
    there = {"python": "3.11.7", "torch_threads": "8", "numpy": "2.0"}
    assert differences(there, here) == [
        "Python was 3.11.7, is 3.12.1",
        "the number of torch's threads was 8, is 2",
    ]


def test_another_ckptsync_changes_no_arithmetic() -> None:
    assert differences({"ckptsync": "0.1"}, {"ckptsync": "0.2"}) == []


def test_what_one_side_does_not_tell_is_no_difference() -> None:
    assert differences({"gpu": "A"}, {"blas": "B"}) == []
