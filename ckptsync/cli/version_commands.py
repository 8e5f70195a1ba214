"""tag, rollback, prune, copy, repair: the versions in a store. Each imports its verb when it is called."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from ..core.errors import UsageError
from ..core.units import size_text
from . import session_text, targets, text
from .output import Answer, Output
from .progress import Reporter
from .text import Line


def tag(arguments: Namespace, output: Output) -> Answer:
    """Give a version a name, or take one away."""
    from ..sync.store import tagging

    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    chosen = {
        "scenario": arguments.scenario,
        "url": arguments.store,
        "reporter": Reporter(output),
        "dry_run": arguments.dry_run,
    }
    if arguments.remove:
        if arguments.version is not None or arguments.move:
            raise UsageError("--remove takes a name away, whatever it names", hint="leave version and --move out")
        report = tagging.untag(project, run, arguments.name, **chosen)
    else:
        report = tagging.tag(project, run, arguments.name, arguments.version or "head", move=arguments.move, **chosen)

    def lines() -> Iterator[Line]:
        would = "would be " if report.dry_run else ""
        if report.version is None:
            yield f"{report.tag} {would}removed; it was damaged, so nobody knows what it named"
        elif report.removed:
            yield [f"{report.tag} {would}removed from ", text.strong(report.version.stem)]
        else:
            yield [f"{report.tag} {would}on ", text.good(report.version.stem)]
        if report.before is not None:
            yield f"before it was on {report.before.stem}"

    return Answer(report.to_json, lines)


def rollback(arguments: Namespace, output: Output) -> Answer:
    """Let the next session start from an earlier version."""
    from ..sync.store import rollback as going_back

    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    report = going_back.rollback(
        project,
        run,
        arguments.version,
        scenario=arguments.scenario,
        url=arguments.store,
        reporter=Reporter(output),
        dry_run=arguments.dry_run,
    )

    def lines() -> Iterator[Line]:
        before = report.before.stem if report.before is not None else "none"
        verb = "would move" if report.dry_run else "moved"
        if report.before == report.version:
            yield f"the head in {report.store} is {report.version.stem} already"
        else:
            yield [f"{verb} the head in {report.store}: {before} -> ", text.good(report.version.stem)]
        if report.local is going_back.Local.MOVED:
            yield [f"{verb} the head here too: ", text.good(report.version.stem)]
            yield from (f"  {stem} gave way, to the attic" for stem in report.gave_way)
        if report.local is going_back.Local.MISSING:
            yield [text.warn("note: "), "the training tree does not have it"]
            yield session_text.next_line(f"ckptsync pull {run.name}")
        else:
            yield session_text.next_line(f"ckptsync launch {run.name}")

    return Answer(report.to_json, lines)


def prune(arguments: Namespace, output: Output) -> Answer:
    """Remove from a store what nobody needs any more."""
    from ..sync.store import prune as pruning

    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    report = pruning.prune(
        project,
        run,
        Reporter(output),
        keep_last=arguments.keep_last,
        keep_best=arguments.keep_best,
        keep_every_steps=arguments.keep_every,
        url=arguments.store,
        dry_run=arguments.dry_run,
    )

    def lines() -> Iterator[Line]:
        for item in report.versions:
            if item.why:
                yield [text.good("stays "), f"{item.key.stem}: {', '.join(item.why)}"]
            else:
                yield [text.warn("would go " if report.dry_run else "gone "), item.key.stem]
        gone = text.count(sum(1 for item in report.versions if not item.why), "version")
        if report.freed_bytes is None:
            yield f"{gone} of {run.name} would go from {report.store}"
        else:
            yield f"{gone} of {run.name} removed from {report.store}, {size_text(report.freed_bytes)} freed"

    return Answer(report.to_json, lines)


def copy(arguments: Namespace, output: Output) -> Answer:
    """Copy a run's checkpoints into another store."""
    from ..sync.store import copy as copying

    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    report = copying.copy(project, run, arguments.url, Reporter(output), url=arguments.store, dry_run=arguments.dry_run)

    def lines() -> Iterator[Line]:
        for key in report.copied:
            yield [text.good("would copy " if report.dry_run else "copied "), key.stem]
        yield from (f"the head of {scenario} moved" for scenario in report.heads)
        yield from (f"tag {name}" for name in report.tags)
        sent = "" if report.sent_bytes is None else f", {size_text(report.sent_bytes)} sent"
        yield f"{text.count(report.skipped, 'checkpoint')} there already, in {report.target}{sent}"

    return Answer(report.to_json, lines)


def repair(arguments: Namespace, output: Output) -> Answer:
    """Put back what is damaged in a store."""
    from ..sync.store import repair as mending

    project = targets.project_of(arguments)
    report = mending.repair(
        project, Reporter(output), url=arguments.store, other_url=arguments.other, dry_run=arguments.dry_run
    )

    def lines() -> Iterator[Line]:
        for item in report.damage:
            if item.source is None:
                yield [text.bad("still damaged "), f"{item.key}: {item.problem}"]
            else:
                verb = "would put back " if report.dry_run else "put back "
                yield [text.good(verb), f"{item.key}, from {'the other store' if item.source == 'store' else 'files'}"]
        if not report.damage:
            yield [text.good("no damage"), f" in {report.store}"]

    return Answer(report.to_json, lines, report.exit_code)
