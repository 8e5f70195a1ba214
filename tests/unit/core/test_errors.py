"""Errors: each class has its exit code, each code its meaning."""

from __future__ import annotations

import errno

import pytest

from ckptsync.core import errors
from ckptsync.core.errors import CkptsyncError, ExitCode


def classes() -> list[type[CkptsyncError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, CkptsyncError)]
    assert len(found) > 12
    return found


def test_every_exit_code_is_explained() -> None:
    assert set(errors.EXIT_CODE_MEANINGS) == set(ExitCode)
    assert len(set(ExitCode)) == len({code.value for code in ExitCode})


def test_an_error_never_ends_in_success() -> None:
    for error in classes():
        assert error.exit_code != ExitCode.OK
        assert error.exit_code in errors.EXIT_CODE_MEANINGS


def test_the_tree_in_the_module_text_is_the_tree() -> None:
    text = errors.__doc__ or ""
    for error in classes():
        if CkptsyncError in error.__bases__:
            line = next(line for line in text.splitlines() if f"+-- {error.__name__} " in line)
            assert str(int(error.exit_code)) in line.split()[2]


def test_only_a_lock_passes_by_itself() -> None:
    assert [error.__name__ for error in classes() if error.transient] == ["LockedError"]


def test_an_error_carries_message_and_hint() -> None:
    error = errors.ConfigError("what failed", hint="what to do")
    assert (str(error), error.message, error.hint) == ("what failed", "what failed", "what to do")
    assert errors.UsageError("x").hint is None


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "clean"), (errno.EROFS, "read-only"), (errno.EACCES, "permissions"), (errno.EIO, "device")],
)
def test_errors_of_the_disk_name_the_path_and_say_what_to_do(number: int, hint: str) -> None:
    error = errors.storage_error(OSError(number, "reason"), "/data/x")
    assert error.message == "cannot write /data/x: reason"
    assert hint in (error.hint or "")


def test_an_unknown_error_of_the_disk_has_no_hint_rather_than_a_wrong_one() -> None:
    error = errors.storage_error(OSError("odd"), "/data/x", action="read")
    assert (error.message, error.hint) == ("cannot read /data/x: odd", None)
