"""What a launch would do, what it first brings from the store included. Nothing is changed."""

from __future__ import annotations

from dataclasses import replace

from ..project.config import Project, RunConfig
from ..project.lineage import next_generation
from .launch_plan import LaunchOptions, LaunchPlan, plan
from .ledgers import known_records, pulled_generations
from .reporting import Reporter
from .store.from_store import bring_newer, brought


def foresee(project: Project, run: RunConfig, options: LaunchOptions, reporter: Reporter) -> LaunchPlan:
    """Say what a launch would do.

    Of what it would bring from the store first, the names alone are known: lineage, generation and N are those that
    would count then; the session's number would be one behind the newest in the checkpoint's seal.

    Raises:
        CkptsyncError: as `plan` and `bring_newer`.
    """
    planned = plan(project, run, options)
    first = () if options.fresh else bring_newer(project, run, reporter, dry_run=True)
    if not first:
        return planned
    resumes = {**planned.resumes, **{p.version.scenario: (p.version.stem, p.version.num_timesteps) for p in first}}
    lineage = max(p.version.lineage for p in first)
    generations = [*((p.version.lineage, p.version.generation) for p in first), *pulled_generations(project)]
    generation = next_generation(lineage, known_records(project), generations)
    done = {scenario: begun[1] for scenario, begun in resumes.items() if begun is not None}
    return replace(
        planned,
        spec=replace(planned.spec, lineage=lineage, generation=generation),
        resumes=resumes,
        reached=all(done.get(scenario.name, -1) >= scenario.total_timesteps for scenario in run.scenarios),
        brings=tuple(f"{brought(pulled)}, and goes on from there" for pulled in first),
    )
