"""One scenario in a session: what a kernel script trains, resumes and saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from ..core import sets
from ..core.errors import UsageError
from ..core.heads import set_other_lineages_aside
from ..core.manifest import Manifest, Origin
from ..core.session import ScenarioSpec
from ..core.sets import StoredSet
from ..core.signature import Signature
from .course import Course, Surroundings
from .log import log
from .metrics import finite
from .resume import Resume, choose, other_scenarios, roll_forward
from .versions import current_versions
from .writer import Chain, Draft, Member

if TYPE_CHECKING:
    from .sb3 import Trainer


@dataclass(frozen=True)
class Outcome:
    """How `learn` ended.

    Args:
        cause: `target`, `deadline`, `steps`, `request`, `callback` or `signal`.
        num_timesteps: of the newest sealed set, which is where the next session goes on.
        sealed: digest of that set's manifest; None when nothing is sealed.
    """

    cause: str
    num_timesteps: int
    sealed: str | None


class Scenario:
    """One task of a session with its own chain of checkpoints.

    For SB3: `model = scenario.load_or_create(PPO, "MlpPolicy", env)`, then `scenario.learn(model)`.
    For a loop of one's own: `steps = scenario.begin()`, then call `clean_point(steps, write_model)`
    wherever the loop could be cut, until it returns a cause.

    Args:
        spec: name and target.
        surroundings: what it shares with the session's other scenarios.
        chain: where new sets belong; its `resumed_from` is filled in by the choice.
        expected: the set that the session was promised.
        fresh: begin a new lineage at zero; what the tree holds of another goes to the attic.
        params: what `launch --set` gave.
        quick: this is a short session.
        seed: of environments and models.
    """

    def __init__(
        self,
        spec: ScenarioSpec,
        surroundings: Surroundings,
        chain: Callable[[Resume | None], Chain],
        *,
        expected: Origin | None,
        fresh: bool,
        params: Mapping[str, Any],
        quick: bool,
        seed: int | None,
    ) -> None:
        self.name = spec.name
        self.total_timesteps = spec.total_timesteps
        self.params = params
        self.quick = quick
        self.seed = seed
        self._spec = spec
        self._around = surroundings
        self._chain_for = chain
        self._expected = expected
        self._fresh = fresh
        self._chosen: tuple[Resume | None] | None = None
        self._course: Course | None = None
        self._trainer: Trainer | None = None

    # --- for loops of one's own ---------------------------------------------------------------------------------

    def latest(self) -> StoredSet | None:
        """Return the set that this session starts from, checked; None when it begins from zero.

        Raises:
            CorruptError: sets were there or promised, and none of them is good.
        """
        resume = self.resume()
        return resume.stored if resume else None

    def begin(self, signature: Signature | None = None) -> int:
        """Begin the scenario in this session and return the num_timesteps to go on from.

        Args:
            signature: of the network that the loop has built, to be compared; None: the loop does that itself.

        Raises:
            IncompatibleError: the set to go on from has another architecture.
            CorruptError: sets were there or promised, and none of them is good.
        """
        if signature is not None and (resume := self.resume()) is not None:
            resume.refuse_misfit(signature)
        fidelity = ("weights", ("a loop of its own puts back what it wants",)) if self.resume() else None
        return self.start(fidelity).begun_at

    def clean_point(
        self,
        num_timesteps: int,
        write_model: Callable[[BinaryIO], None],
        *,
        metrics: Mapping[str, float] | None = None,
        signature: Signature | None = None,
    ) -> str | None:
        """Save when it is time to; return why training stops here, or None to go on.

        Args:
            num_timesteps: N now.
            write_model: fills an open binary file with the model, in a form that ckptsync reads.
            metrics: numbers at this moment; `ep_rew_mean` is what "best" goes by.
            signature: of the model; None: what reading the file says.

        Raises:
            UsageError: N lies before what `begin` returned.
            CkptsyncError: the last save of the scenario failed.
        """
        course = self.course
        if num_timesteps < course.begun_at:
            raise UsageError(
                f"clean_point() of scenario {self.name!r} was called at {num_timesteps:,} steps, and begin() had said "
                f"that it goes on from {course.begun_at:,}",
                hint="let the loop count from the number that scenario.begin() returns",
            )
        numbers = dict(metrics or {})
        cause = course.clean_point(num_timesteps, lambda: self._draft(num_timesteps, write_model, signature), numbers)
        if cause is not None:
            course.end(cause, num_timesteps, numbers)
        return cause

    def seal(
        self,
        num_timesteps: int,
        write_model: Callable[[BinaryIO], None],
        *,
        kind: str = "request",
        metrics: Mapping[str, float] | None = None,
        signature: Signature | None = None,
    ) -> str:
        """Seal a set now, whatever the policy says; return its manifest's digest.

        Raises:
            CkptsyncError: it cannot be written.
        """
        draft = self._draft(num_timesteps, write_model, signature)
        return self.course.save(num_timesteps, lambda: draft, kind, finite(metrics or {})).result().digest

    def _draft(self, num_timesteps: int, write: Callable[[BinaryIO], None], signature: Signature | None) -> Draft:
        reasons = ("a loop of its own saved the model file alone",)
        members = (Member("model", "zip", write),)
        return Draft(num_timesteps, members, signature, "weights", reasons, current_versions())

    # --- for stable-baselines3 ----------------------------------------------------------------------------------

    def load_or_create(self, algorithm: type, policy: Any, env: Any, **arguments: Any) -> Any:
        """Build a model from code and arguments, then put back what the newest good set holds.

        Nothing stored decides how the model is built, so changed hyperparameters take effect.

        Args:
            algorithm: the class, `PPO`.
            policy: as the class takes it.
            env: as the class takes it.
            arguments: more of the class's arguments; `seed` is the session's unless given.

        Returns:
            The model; its `num_timesteps` is where training goes on.

        Raises:
            IncompatibleError: the set has another architecture; nothing was loaded.
            CorruptError: sets were there or promised, and none of them is good.
        """
        from .sb3 import Trainer

        self._trainer = Trainer.load_or_create(self, algorithm, policy, env, arguments)
        return self._trainer.model

    def learn(self, model: Any, callback: Any = None, **learn_arguments: Any) -> Outcome:
        """Train to the scenario's target, this session's deadline or a stop.

        Args:
            model: what `load_or_create` gave.
            callback: a callback, a function or a list, as SB3 takes them.
            learn_arguments: more of `model.learn`'s arguments, such as `log_interval`.

        Raises:
            UsageError: the model is not this scenario's.
            CkptsyncError: the last save failed.
        """
        if self._trainer is None or self._trainer.model is not model:
            raise UsageError(
                f"learn() needs the model of load_or_create() for scenario {self.name!r}",
                hint="model = session.load_or_create(PPO, 'MlpPolicy', env); session.learn(model)",
            )
        return self._trainer.learn(callback, learn_arguments)

    # --- for the session ----------------------------------------------------------------------------------------

    def resume(self) -> Resume | None:
        """Return the choice of the set to start from, made once."""
        if self._chosen is None:
            tree = self._around.tree
            if self._fresh:
                lineage = self._chain_for(None).lineage
                set_other_lineages_aside(tree, sets.scan(tree.checkpoints), self.name, lineage)
            roll_forward(tree, self.name)
            chosen = choose(tree, self.name, expected=self._expected)
            self._chosen = (chosen,)
            self._announce(chosen)
        return self._chosen[0]

    def start(self, fidelity: tuple[str, tuple[str, ...]] | None, model: Any = None) -> Course:
        """Begin the scenario's course in this session, once; see `Course` for the model."""
        if self._course is None:
            resume = self.resume()
            if resume is not None and resume.reasons and fidelity is not None:
                fidelity = (fidelity[0], (*resume.reasons, *fidelity[1]))
            self._course = Course(self._spec, self._around, self._chain_for(resume), resume, fidelity, model)
        return self._course

    @property
    def has_begun(self) -> bool:
        """Whether there is a course yet."""
        return self._course is not None

    @property
    def course(self) -> Course:
        """The course that `start` began.

        Raises:
            UsageError: it has not begun.
        """
        if self._course is None:
            raise UsageError(f"scenario {self.name!r} has not begun", hint="call begin() or load_or_create() first")
        return self._course

    def newest(self) -> Manifest | None:
        """Return the newest sealed set of this session, else the one that it starts from; None from zero."""
        if self._course is not None:
            return self._course.newest
        resume = self.resume()
        return resume.stored.manifest if resume is not None else None

    def is_own(self, manifest: Manifest) -> bool:
        """Whether a set of this tree is of the session's own lineage; outside any session the tree's sets are."""
        return manifest.lineage == self._chain_for(self.resume()).lineage

    @property
    def surroundings(self) -> Surroundings:
        """What it shares with the session's other scenarios."""
        return self._around

    def finished(self) -> bool:
        """Whether an earlier session has reached the target; says so in the log and the events."""
        resume = self.resume()
        if resume is None or resume.num_timesteps < self.total_timesteps:
            return False
        self.start(("weights", ("nothing to train: the target was reached before",)))
        self.course.end("target", resume.num_timesteps, {})
        return True

    def _announce(self, chosen: Resume | None) -> None:
        events, tree = self._around.events, self._around.tree
        if chosen is None:
            others = other_scenarios(tree, self.name)
            if others:
                message = (
                    f"starting scenario {self.name} from zero: the tree holds checkpoints of {', '.join(others)} only"
                )
                events.write("warning", scenario=self.name, message=message)
                log(f"[CHECKPOINT] {message}")
            else:
                log(f"[CHECKPOINT] No checkpoints found in {tree.checkpoints}: this is normal for a first run")
            return
        found = [s for s in sets.scan(tree.checkpoints) if s.scenario == self.name]
        log(f"[CHECKPOINT] Found {len(found)} checkpoint(s) of {self.name}; resuming from {chosen.stored.stem}")
        if chosen.reasons:
            message = f"fell back to {chosen.stored.stem}: {'; '.join(chosen.reasons)}"
            events.write("warning", scenario=self.name, message=message, code="set.fallback")
            log(f"[CHECKPOINT] {message}")
