"""What a launch would do: from which sets a session starts, what it is told, and what that needs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..core import heads, sets
from ..core.errors import ConfigError
from ..core.manifest import Manifest, Origin
from ..core.pack import PACK_SUFFIX
from ..core.session import SavePolicy, SessionSpec
from ..core.sets import StoredSet
from ..project.config import Project, RunConfig, changed_policy
from ..project.lineage import SessionRecord, next_generation, next_lineage, next_session
from .beginning import Beginning, choose_beginning
from .ledgers import known_records, pulled_generations
from .room import ScenarioRoom, rooms
from .runners import runner_for, within_limits
from .store.live import is_relayed, why_not_live

if TYPE_CHECKING:
    from ..runners.bundle import Bundle

PLAN_SCHEMA = "ckptsync.launch-plan/1"
# A quick session saves so many times, however short it is
_QUICK_SAVES = 4


@dataclass(frozen=True)
class LaunchOptions:
    """What a launch was asked for.

    Args:
        quick: a short session of the same run.
        steps: end after so many transitions, for each scenario.
        fresh: begin from zero; the old sets move to the attic.
        runner: another runner than the run's.
        set: parameters for the script, over those of the run.
        save: when to save and what to keep in this session, by the keys of the configuration.
        seed: another seed than the run's.
    """

    quick: bool = False
    steps: int | None = None
    fresh: bool = False
    runner: str | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    save: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class LaunchPlan:
    """A session that is about to be started.

    Args:
        spec: what it will be told.
        runner: the runner's name.
        inputs: pack name -> manifest of the set in it.
        resumes: scenario -> (stem, num_timesteps) that it starts from; None: from zero.
        notes: what people should know.
        reached: every scenario has reached its target, so there is nothing to train.
        fell_back: a broken head was passed over.
        code: the bundle; None when there is nothing to train.
        beginnings: what was judged on the way.
        rooms: what the checkpoints will need on the disk here.
        brings: in words, what comes from the store first; then the session's number is known when it is here.
    """

    spec: SessionSpec
    runner: str
    inputs: tuple[tuple[str, Manifest], ...]
    resumes: Mapping[str, tuple[str, int] | None]
    notes: tuple[str, ...] = ()
    reached: bool = False
    fell_back: bool = False
    code: Bundle | None = None
    beginnings: tuple[Beginning, ...] = ()
    rooms: tuple[ScenarioRoom, ...] = ()
    brings: tuple[str, ...] = ()

    @property
    def bundle_bytes(self) -> int:
        """Size of the kernel script."""
        return len(self.code.script) if self.code is not None else 0

    @property
    def carried_bytes(self) -> int:
        """Bytes of all sets that the session is given; a segment that they share travels once."""
        return sum(entry.size_bytes for entry in {entry for _, manifest in self.inputs for entry in manifest.files})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of a dry run."""
        return {
            "schema": PLAN_SCHEMA,
            "exit_code": 0,
            "run": self.spec.run,
            "session": None if self.reached or self.brings else self.spec.session,
            "runner": self.runner,
            "reached": self.reached,
            "fell_back": self.fell_back,
            "spec": self.spec.to_json(),
            "inputs": [input_json(name, manifest) for name, manifest in self.inputs],
            "bundle_bytes": self.bundle_bytes,
            "resumes": {
                scenario: {"set": start[0], "num_timesteps": start[1]} if start else None
                for scenario, start in self.resumes.items()
            },
            "disk": [room.to_json() for room in self.rooms],
            "notes": [*(f"a launch first brings {text}" for text in self.brings), *self.notes],
        }


def input_json(name: str, manifest: Manifest) -> dict[str, Any]:
    """Return a set that a session is given, as it stands in the plan and in the ledger."""
    return {
        "file": name,
        "scenario": manifest.scenario,
        "set": manifest.stem,
        "digest": manifest.digest,
        "size_bytes": manifest.size_bytes,
    }


def plan(project: Project, run: RunConfig, options: LaunchOptions) -> LaunchPlan:
    """Say what a launch would do; changes nothing but the cache of packed packages.

    Raises:
        CorruptError, NothingFoundError, IncompatibleError: there is something to start from and nothing
            that can be used; see `choose_beginning`.
        UsageError: there is no such runner.
        ConfigError: a key or value of `options.save` is wrong, or sessions could not reach the run's code.
    """
    name = options.runner or run.runner
    runner_for(project, name, run.name)  # a wrong name is told before anything is planned
    run = within_limits(project, run, name)
    _refuse_unreachable_code(project, run, name)
    every = known_records(project)
    found = [record for record in every if record.run == run.name]
    stored = sets.scan(project.tree(run).checkpoints)
    why_fresh = _why_fresh(run, options, stored)
    beginnings = [
        Beginning(scenario, None) if why_fresh else choose_beginning(project, run, scenario, stored, found)
        for scenario in run.scenario_names
    ]
    lineage = _lineage(every, found, stored, beginnings, fresh=bool(why_fresh))
    not_live = why_not_live(project, run.name, name)
    spec = _spec(project, run, options, beginnings, every, stored, lineage=lineage, fresh=bool(why_fresh))
    spec = replace(spec, live=not_live is None, relayed=not_live is None and is_relayed(project))
    reached = all(
        beginning.manifest is not None and beginning.manifest.num_timesteps >= scenario.total_timesteps
        for beginning, scenario in zip(beginnings, run.scenarios, strict=True)
    )
    ahead = () if reached else rooms(project, run, spec.save, stored, fresh=bool(why_fresh))
    code = None if reached else bundle(project, run, spec)
    inputs = [s.manifest for b in beginnings for s in (b.start, b.best) if s is not None and s.manifest is not None]
    return LaunchPlan(
        spec=spec,
        runner=name,
        inputs=tuple((manifest.stem + PACK_SUFFIX, manifest) for manifest in inputs),
        resumes={b.scenario: (b.manifest.stem, b.manifest.num_timesteps) if b.manifest else None for b in beginnings},
        notes=(
            *why_fresh,
            *_no_time(spec),
            *((not_live,) if not_live and project.stores is not None and project.stores.live else ()),
            *_code_apart(run, code),
            *(note for beginning in beginnings for note in beginning.notes),
            *(note for room in ahead for note in room.notes),
        ),
        reached=reached,
        fell_back=any(beginning.broken or passed_over(project, run, beginning) for beginning in beginnings),
        code=code,
        beginnings=tuple(beginnings),
        rooms=ahead,
    )


def passed_over(project: Project, run: RunConfig, beginning: Beginning) -> bool:
    """Tell whether the head file names another set than the one that was chosen."""
    try:
        head = heads.read_head(project.tree(run), beginning.scenario)
    except ValueError:
        return beginning.manifest is not None
    return head is not None and beginning.manifest is not None and head.digest != beginning.manifest.digest


def _no_time(spec: SessionSpec) -> tuple[str, ...]:
    if spec.budget_seconds is None or spec.margin_seconds < spec.budget_seconds:
        return ()
    return (
        f"the margin ({spec.margin_seconds:g} s) takes all of the budget ({spec.budget_seconds:g} s): the session "
        "will stop before it trains; set a smaller margin",
    )


def _code_apart(run: RunConfig, code: Bundle | None) -> tuple[str, ...]:
    packs = code.inputs.items() if code is not None else ()
    cloned = [run.code] if run.code is not None and code is not None else []
    return (
        *(f"the session fetches its code itself: commit {source.commit} of {source.git}" for source in cloned),
        *(
            f"the code is too large for a script: it travels as an input, {name} ({path.stat().st_size:,} bytes)"
            for name, path in packs
        ),
    )


def _refuse_unreachable_code(project: Project, run: RunConfig, runner: str) -> None:
    offline = runner == "kaggle" and not project.runner_settings(runner, run.name).get("internet", False)
    if run.code is not None and offline:
        raise ConfigError(
            f"run {run.name} fetches its code from {run.code.git}, and its sessions on {runner} have no internet",
            hint=f"set internet = true in [runs.{run.name}.kaggle], or remove [runs.{run.name}.code]",
        )


def _why_fresh(run: RunConfig, options: LaunchOptions, stored: Sequence[StoredSet]) -> tuple[str, ...]:
    if options.fresh:
        return ("starting from zero, as told; the sets before go to the attic",)
    versions = {s.manifest.version for s in stored if s.manifest is not None and s.scenario in run.scenario_names}
    if versions and run.version not in versions:
        before = ", ".join(sorted(versions))
        return (
            f"version of run {run.name} changed from {before} to {run.version}: a new lineage starts from zero, "
            "the sets before go to the attic",
        )
    return ()


def _lineage(
    every: Sequence[SessionRecord],
    found: Sequence[SessionRecord],
    stored: Sequence[StoredSet],
    beginnings: Sequence[Beginning],
    *,
    fresh: bool,
) -> str:
    if not fresh:
        started = [beginning.manifest.lineage for beginning in beginnings if beginning.manifest is not None]
        if started:
            return max(started)
        if found:  # its sessions left nothing so far
            return found[-1].spec.lineage
    known = {record.spec.lineage for record in every} | {s.manifest.lineage for s in stored if s.manifest is not None}
    return next_lineage(known, secrets.token_hex(3))


def _spec(
    project: Project,
    run: RunConfig,
    options: LaunchOptions,
    beginnings: Sequence[Beginning],
    every: Sequence[SessionRecord],
    stored: Sequence[StoredSet],
    *,
    lineage: str,
    fresh: bool,
) -> SessionSpec:
    steps = options.steps or (run.quick_steps if options.quick else None)
    save = _quick_saves(run.save, steps) if options.quick and steps is not None else run.save
    made = [s.manifest for s in stored if s.manifest is not None]
    generations = [*((m.lineage, m.generation) for m in made), *pulled_generations(project)]
    return SessionSpec(
        run=run.name,
        session=next_session(run.name, [record for record in every if record.run == run.name], made),
        lineage=lineage,
        generation=next_generation(lineage, every, generations),
        scenarios=run.scenarios,
        version=run.version,
        tree=run.tree,
        heads={b.scenario: _origin(b.manifest) for b in beginnings if b.manifest is not None},
        fresh=fresh,
        quick=options.quick,
        params={**run.params, **options.set},
        max_steps=steps,
        budget_seconds=run.budget_seconds,
        margin_seconds=run.margin_seconds,
        save=changed_policy(save, options.save, "--save"),
        max_output_bytes=run.max_output_bytes,
        seed=run.seed if options.seed is None else options.seed,
        script=run.script,
        code=run.code,
    )


def _origin(manifest: Manifest) -> Origin:
    return Origin(manifest.session, manifest.num_timesteps, manifest.digest)


def _quick_saves(save: SavePolicy, steps: int) -> SavePolicy:
    every = max(1, steps // _QUICK_SAVES)
    return replace(save, every_steps=min(every, save.every_steps or every))


def bundle(project: Project, run: RunConfig, spec: SessionSpec) -> Bundle:
    """Build what carries a session's code."""
    from ..runners.bundle import build_bundle

    return build_bundle(project.kernel_folder(run), spec, wheels=run.packages, cache=project.layout.cache)
