"""init, adopt, doctor, clean, completion: what concerns a project as a whole."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import UsageError
from ..core.units import size_text
from ..project.config import Project, RunConfig
from ..sync.reporting import shown_path
from . import session_text, targets, text
from .checkpoint_text import finding_lines
from .output import Answer, Output
from .text import Line


def init(arguments: Namespace, output: Output) -> Answer:
    """Make a project that can be launched as it is."""
    from ..sync.init import init as make

    folder = Path(arguments.folder or arguments.project or ".")
    report = make(folder, arguments.kernel, dry_run=arguments.dry_run)

    def lines() -> Iterator[Line]:
        verb = "would write" if report.dry_run else "wrote"
        for file in report.files:
            yield [f"{verb} ", text.good(str(folder / file))]
        step = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
        yield session_text.next_line(f"{step}ckptsync launch --quick")

    return Answer(report.to_json, lines)


def adopt(arguments: Namespace, output: Output) -> Answer:
    """Seal plain SB3 checkpoints, so that a run goes on from them."""
    from ..sync.adopt import adopt as seal

    project = targets.project_of(arguments)
    run, folder = _run_and_folder(project, arguments.words)
    report = seal(project, run, folder, scenarios=dict(arguments.scenario), dry_run=arguments.dry_run)

    def lines() -> Iterator[Line]:
        verb = "would seal" if report.dry_run else "sealed"
        for path, stem in report.adopted:
            yield [text.good(f"{verb} "), f"{shown_path(path)} as {stem}"]
        for path, findings in report.refused:
            yield [text.bad("refused "), str(shown_path(path))]
            yield from (["  ", *text.parts_of(line)] for line in finding_lines(findings))
        for note in report.notes:
            yield [text.warn("note: "), note]
        for scenario, stem in report.heads.items():
            yield f"{scenario}: the next session {'would go' if report.dry_run else 'goes'} on from {stem}"
        yield session_text.next_line(f"ckptsync launch {run.name}")

    return Answer(report.to_json, lines, report.exit_code)


def _run_and_folder(project: Project, words: Sequence[str]) -> tuple[RunConfig, Path | None]:
    """Tell a run from a folder: one word is a folder where one of that name exists."""
    if len(words) > 2:
        raise UsageError(f"one argument too many: {words[2]!r}", hint="ckptsync adopt [RUN] [DIR]")
    if len(words) == 2:
        return project.run(words[0]), _folder(words[1])
    if words and (os.path.lexists(words[0]) or words[0] not in project.runs):
        return project.run(None), _folder(words[0])
    return project.run(words[0] if words else None), None


def _folder(word: str) -> Path:
    path = Path(word).expanduser()
    if not path.exists():
        raise UsageError(f"there is no folder or run {word!r}", hint="ckptsync adopt [RUN] [DIR]")
    return path


def doctor(arguments: Namespace, output: Output) -> Answer:
    """Check this machine and the project."""
    from ..sync.doctor import doctor as examine

    report = examine(targets.project_or_none(arguments))

    def lines() -> Iterator[Line]:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            word = text.good("ok  ") if check.ok else text.bad("FAIL")
            yield [word, f"  {text.escape(check.name):{width}}  {check.found}"]
            if not check.ok and check.fix:
                yield [" " * (width + 8), text.strong("fix: "), check.fix]

    return Answer(report.to_json, lines, report.exit_code)


def clean(arguments: Namespace, output: Output) -> Answer:
    """Remove old files of attic, quarantine, results and ended sessions."""
    from ..sync.clean import apply_clean, plan_clean

    project = targets.project_of(arguments)
    plan = plan_clean(project, arguments.older_than, arguments.keep)
    if not arguments.dry_run:
        plan = apply_clean(project, plan)

    def lines() -> Iterator[Line]:
        for item in plan.remove:
            age = text.count(int(item.age_days), "day")
            yield f"  {item.kind:10}  {size_text(item.size_bytes):>9}  {age:>8}  {shown_path(item.path)}"
        verb = "would remove" if plan.dry_run else "removed"
        kept = sum(item.size_bytes for item in plan.keep)
        yield (
            f"{verb} {text.count(len(plan.remove), 'folder')} with {size_text(plan.freed_bytes)}; "
            f"{size_text(kept)} {'would stay' if plan.dry_run else 'stay'}"
        )

    return Answer(plan.to_json, lines)


def completion(arguments: Namespace, output: Output) -> Answer:
    """Make the completion script of a shell."""
    import shtab

    from .parser import full_parser

    parser = full_parser({"file": shtab.FILE, "directory": shtab.DIRECTORY})
    script = shtab.complete(parser, arguments.shell)
    value = {"schema": "ckptsync.completion/1", "shell": arguments.shell, "script": script}
    return Answer(lambda: value, lambda: script.rstrip("\n").split("\n"))
