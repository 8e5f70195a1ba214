"""adopt: seal plain SB3 files, so that a run goes on from them.

Files that lie in the run's own tree are sealed in place (and renamed where their prefix is another one);
files of another folder are copied. Adopting is the user's word for them: functions by value are notes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import fsio, heads, names, sets
from ..core.clock import now
from ..core.errors import ExitCode, LockedError, NothingFoundError, UsageError
from ..core.findings import Finding, Severity
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry, Manifest
from ..core.sets import SetState
from ..core.signature import Signature
from ..project.config import Project, RunConfig
from ..project.lineage import next_lineage
from .judge import Terms, judge_file
from .ledgers import known_lineages, open_ledger
from .report import CheckpointReport
from .targets import find_target
from .treework import renew_exports, sealed

ADOPT_SCHEMA = "ckptsync.adopt/1"
_REASON = "adopted: plain SB3 files hold no random state and no environment"


@dataclass(frozen=True)
class Adoptee:
    """One file that will be sealed.

    Args:
        path: where it is now.
        scenario: whose checkpoint it becomes.
        num_timesteps: N by its content, else by its name.
        report: its judgement.
    """

    path: Path
    scenario: str
    num_timesteps: int
    report: CheckpointReport

    @property
    def stem(self) -> str:
        """Its stem as a sealed set."""
        return names.checkpoint_stem(self.scenario, self.num_timesteps)


@dataclass(frozen=True)
class AdoptReport:
    """What adopting does or did.

    Args:
        run: the run.
        folder: where the files were.
        lineage: the new lineage.
        adopted: (file, stem) of each one.
        refused: (file, findings) of each one that is not sound or does not fit.
        heads: scenario -> stem that the next session starts from.
        notes: what people should know.
        dry_run: nothing was changed.
    """

    run: str
    folder: Path
    lineage: str
    adopted: tuple[tuple[Path, str], ...]
    refused: tuple[tuple[Path, tuple[Finding, ...]], ...]
    heads: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """0, 3 when some were refused, the worst verdict's when all were."""
        if not self.refused:
            return int(ExitCode.OK)
        if self.adopted:
            return int(ExitCode.PARTIAL)
        verdicts = [f.verdict for _, findings in self.refused for f in findings if f.verdict is not None]
        return max((int(verdict.exit_code) for verdict in verdicts), default=int(ExitCode.CORRUPT))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": ADOPT_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "folder": str(self.folder),
            "lineage": self.lineage,
            "adopted": [{"path": str(path), "set": stem} for path, stem in self.adopted],
            "refused": [
                {"path": str(path), "findings": [finding.to_json() for finding in findings]}
                for path, findings in self.refused
            ],
            "heads": dict(self.heads),
            "notes": list(self.notes),
            "dry_run": self.dry_run,
        }


def adopt(
    project: Project,
    run: RunConfig,
    folder: Path | None = None,
    *,
    scenarios: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> AdoptReport:
    """Seal a folder of plain SB3 files into a run's tree; the newest of each scenario becomes its head.

    Args:
        project: the project.
        run: the run.
        folder: where they are; the run's own tree when None.
        scenarios: prefix of the files' names -> scenario, for prefixes that are no scenario of the run.
        dry_run: change nothing.

    Raises:
        NothingFoundError: there are no plain files.
        UsageError: it is not clear which scenario a prefix belongs to.
        LockedError: a scenario has a head already.
    """
    tree = project.tree(run)
    source = folder if folder is not None else tree.root
    adoptees, refused = _judge(run, _plain_files(source), scenarios or {})
    lineage = _lineage(project, tree)
    report = AdoptReport(
        run=run.name,
        folder=source,
        lineage=lineage,
        adopted=tuple((adoptee.path, adoptee.stem) for adoptee in adoptees),
        refused=refused,
        heads={adoptee.scenario: adoptee.stem for adoptee in adoptees},
        notes=_notes(adoptees),
        dry_run=dry_run,
    )
    for scenario in report.heads:
        head = heads.standing(tree, sets.scan(tree.checkpoints), scenario).head
        if head is not None:
            raise LockedError(
                f"{scenario} has a head already, {head.stem}; adopted files would go behind or beside it",
                hint="'ckptsync launch --fresh' moves the old sets to the attic; or adopt into another scenario",
            )
    if dry_run or not adoptees:
        return report
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        fsio.make_folder(tree.checkpoints)
        adopted = [{"set": adoptee.stem, "scenario": adoptee.scenario} for adoptee in adoptees]
        open_ledger(project).append("adopted", run=run.name, lineage=lineage, sets=adopted, folder=str(source))
        for scenario in report.heads:
            _seal_all(run, tree, [a for a in adoptees if a.scenario == scenario], lineage)
        renew_exports(tree)
    return report


def _plain_files(source: Path) -> list[Path]:
    if not source.exists():
        raise NothingFoundError(
            f"No plain checkpoints found: there is no {source}",
            hint="name the folder where they are: ckptsync adopt RUN FOLDER",
        )
    target = find_target(source)
    if isinstance(target.one, Path):
        return [target.one]
    found = [s for tree in target.trees for s in sets.scan(tree.checkpoints)]
    plain = [s.model_path for s in found if s.state is SetState.UNSEALED]
    if not plain:
        raise NothingFoundError(
            f"{source} holds no plain checkpoint such as x_checkpoint_1000_steps.zip"
            + (f"; {len(found)} set(s) there have a seal already" if found else ""),
            hint="'ckptsync ls' lists what the tree has" if found else "name the folder: ckptsync adopt RUN FOLDER",
        )
    return plain


def _judge(
    run: RunConfig, files: Iterable[Path], mapping: Mapping[str, str]
) -> tuple[list[Adoptee], tuple[tuple[Path, tuple[Finding, ...]], ...]]:
    parsed = {path: parts for path in files if (parts := names.parse_stem(path.stem, classic=True)) is not None}
    prefixes = sorted({parts.scenario for parts in parsed.values()})
    terms = Terms(run.expects, "the declaration" if run.expects is not None else None, own=True)
    adoptees: list[Adoptee] = []
    refused: list[tuple[Path, tuple[Finding, ...]]] = []
    for path, parts in parsed.items():
        scenario = _scenario(run, parts.scenario, prefixes, mapping)
        report = judge_file(path, terms)
        blocking = tuple(finding for finding in report.findings if finding.severity is Severity.BLOCKER)
        if blocking:
            refused.append((path, blocking))
            continue
        steps = report.num_timesteps if report.num_timesteps is not None else parts.num_timesteps
        adoptees.append(Adoptee(path, scenario, steps, report))
    return sorted(adoptees, key=lambda a: (a.scenario, a.num_timesteps)), tuple(refused)


def _scenario(run: RunConfig, prefix: str, prefixes: Sequence[str], mapping: Mapping[str, str]) -> str:
    scenario = mapping.get(prefix, prefix)
    if scenario in run.scenario_names:
        return scenario
    if prefix in mapping:
        raise UsageError(f"run {run.name} has no scenario {scenario!r}; it has {', '.join(run.scenario_names)}")
    if len(prefixes) == 1 and len(run.scenario_names) == 1:
        return run.scenario_names[0]
    raise UsageError(
        f"which scenario of run {run.name} do files named {names.printable(prefix)} belong to?",
        hint=f"--scenario {prefix}=NAME, where NAME is one of: {', '.join(run.scenario_names)}",
    )


def _lineage(project: Project, tree: TrainingTree) -> str:
    # An adoption that was cut short has sealed some sets and set no head: the next attempt goes on with its lineage
    for stored in sets.scan(tree.checkpoints):
        manifest = stored.manifest
        if manifest is not None and manifest.kind == "adopted" and not tree.head(manifest.scenario).exists():
            return manifest.lineage
    return next_lineage(known_lineages(project), secrets.token_hex(3))


def _notes(adoptees: Sequence[Adoptee]) -> tuple[str, ...]:
    functions = {
        f"{code.field}: {code.name} ({code.digest})" for a in adoptees for code in a.report.functions if not code.known
    }
    said = [f"the files carry byte code of your own, which training will run: {text}" for text in sorted(functions)]
    renamed = [a for a in adoptees if a.path.name != names.model_name(a.stem)]
    said += [f"{names.printable(a.path.name)} becomes {names.model_name(a.stem)}" for a in renamed]
    return tuple(said)


def _seal_all(run: RunConfig, tree: TrainingTree, adoptees: Sequence[Adoptee], lineage: str) -> None:
    here = sealed(sets.scan(tree.checkpoints), adoptees[0].scenario).values()
    earlier = [s.manifest for s in here if s.manifest is not None and s.manifest.lineage == lineage]
    parent = max(earlier, key=lambda m: m.num_timesteps, default=None)
    for adoptee in adoptees:
        parent = _seal(run, tree, adoptee, lineage, parent)
    if parent is not None:
        heads.write_head(tree, heads.Head.of(parent))


def _seal(run: RunConfig, tree: TrainingTree, adoptee: Adoptee, lineage: str, parent: Manifest | None) -> Manifest:
    report, file = adoptee.report, adoptee.report.files[0]
    name = names.model_name(adoptee.stem)
    manifest = Manifest(
        scenario=adoptee.scenario,
        num_timesteps=adoptee.num_timesteps,
        kind="adopted",
        files=(FileEntry(name, "model", file.size_bytes or 0, file.digest or "", report.content),),
        signature=report.signature or Signature(),
        lineage=lineage,
        generation=0,
        version=run.version,
        parent=parent.digest if parent is not None else None,
        captured="weights",
        captured_reasons=(_REASON,),
        versions=report.versions,
        created_at=now(),
    )
    target = tree.checkpoints / name
    if adoptee.path.parent.resolve() == tree.checkpoints.resolve():
        if adoptee.path.name != name:
            fsio.rename(adoptee.path, target)
        return sets.seal_in_place(tree.checkpoints, manifest)
    standing = sets.find(tree.checkpoints, adoptee.stem)
    if standing is not None:
        sets.set_aside(standing, tree.attic)
    writer = sets.SetWriter(tree.checkpoints, adoptee.stem, [name])
    try:
        writer.copy(adoptee.path, manifest.model)
        return writer.seal(manifest)
    except BaseException:
        writer.abandon()
        raise
