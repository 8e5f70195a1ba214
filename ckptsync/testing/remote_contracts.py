"""What a runner must keep whose sessions are known to a service, beside the contract of all runners."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from ..core.errors import LockedError
from ..core.session import ScenarioSpec, SessionSpec
from ..runners.base import RemoteRunner, Submission
from ..runners.bundle import header
from .contracts import RunnerContract


class RemoteRunnerContract(RunnerContract):
    """Inherit it and give the fixtures `runner` and `other`, which talk to one and the same service."""

    @pytest.fixture
    def other(self) -> RemoteRunner:
        """The same user's runner on another machine; to be overridden."""
        raise NotImplementedError

    def bundle(self, number: int = 1, *, generation: int | None = None, **fields: Any) -> Submission:
        """Make a submission whose script says what it is, and prints `ready`."""
        told: dict[str, Any] = {"lineage": "l0001-abcdef", "scenarios": (ScenarioSpec("contract", 100),), **fields}
        generation = generation if generation is not None else number
        spec = SessionSpec(run="contract", session=f"contract/s{number:04d}", generation=generation, **told)
        script = header(spec) + self.preamble + b"print('ready', flush=True)\n"
        return Submission(spec.session, generation, script, title="contract")

    def test_it_is_a_remote_runner(self, runner: RemoteRunner) -> None:
        """What `isinstance` says decides what is asked of it."""
        assert isinstance(runner, RemoteRunner)

    def test_nothing_is_discovered_before_the_start(self, runner: RemoteRunner) -> None:
        """A run that was never started is no error."""
        assert runner.discover("contract") == []

    def test_another_machine_discovers_what_was_started(self, runner: RemoteRunner, other: RemoteRunner) -> None:
        """With its handle and all that it was told, newest first and not more than asked for."""
        handles = []
        for number in (1, 2, 3):
            handles.append(runner.start(self.bundle(number, params={"token": secrets.token_hex(4), "text": "ä\n'"})))
            self.finish(runner, handles[-1])
        found = other.discover("contract")
        assert [each.handle for each in found] == handles[::-1]
        assert [each.spec.generation for each in found] == [3, 2, 1]
        assert found == runner.discover("contract")
        assert other.discover("contract", limit=2) == found[:2]
        assert other.discover("another") == []
        assert other.status(found[0].handle) == runner.status(handles[-1])

    def test_one_submission_from_two_machines_is_one_session(self, runner: RemoteRunner, other: RemoteRunner) -> None:
        """Whoever asks second is given the handle of the first."""
        submission = self.bundle()
        handle = runner.start(submission)
        assert other.start(submission) == handle
        assert other.find(submission) == handle
        assert len(other.discover("contract")) == 1
        self.finish(runner, handle)

    def test_the_first_of_two_sessions_of_one_name_counts(self, runner: RemoteRunner, other: RemoteRunner) -> None:
        """The other machine is told, and what it started is no session."""
        handle = runner.start(self.bundle(lineage="l0001-aaaaaa"))
        with pytest.raises(LockedError):
            other.start(self.bundle(lineage="l0001-bbbbbb"))
        oldest = other.discover("contract")[-1]
        assert (oldest.handle, oldest.spec.lineage) == (handle, "l0001-aaaaaa")
        self.finish(runner, handle)

    def test_an_older_generation_comes_too_late(self, runner: RemoteRunner, other: RemoteRunner) -> None:
        """A machine that has missed a session must not go on from before it."""
        handle = runner.start(self.bundle(4, generation=4))
        with pytest.raises(LockedError):
            other.start(self.bundle(3, generation=3))
        assert other.discover("contract")[-1].handle == handle
        self.finish(runner, handle)

    def test_limits_are_told(self, runner: RemoteRunner) -> None:
        """What is left of anything is never less than nothing."""
        assert all(allowance.left_seconds >= 0 for allowance in runner.limits().allowances)

    def test_a_title_does_not_make_another_submission(self, runner: RemoteRunner) -> None:
        """What people call it is not what it is."""
        handle = runner.start(self.bundle())
        assert runner.find(replace(self.bundle(), title="something else")) == handle
        self.finish(runner, handle)
