"""init-store, push, pull, scrub, ls --store: checkpoints outside of this machine. Each imports its verb when it is called."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from ..core.units import size_text
from ..project.config import Project, RunConfig
from . import session_text, targets, text
from .output import Answer, Output
from .progress import Reporter
from .text import Line


def init_store(arguments: Namespace, output: Output) -> Answer:
    """Make a repository in a store."""
    from ..sync.store import stores

    project = targets.project_or_none(arguments)
    report = stores.init_store(project, arguments.url, reporter=Reporter(output), dry_run=arguments.dry_run)

    def lines() -> Iterator[Line]:
        made = "would make a repository in" if report.dry_run else "made a repository in"
        yield [text.good(made if report.made or report.id is None else "there is a repository in"), f" {report.url}"]
        for limit in report.limits:
            yield [text.warn("note: "), limit]
        yield session_text.next_line("ckptsync push")

    return Answer(report.to_json, lines)


def push(arguments: Namespace, output: Output) -> Answer:
    """Send a run's checkpoints to its store."""
    from ..sync.store import push as pushing
    from ..sync.store import tiers

    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    reporter, far = Reporter(output), None
    if arguments.store is not None or arguments.dry_run:
        report = pushing.push(project, run, reporter, url=arguments.store, dry_run=arguments.dry_run)
    else:
        report, far = tiers.push_everywhere(project, run, reporter)

    def lines() -> Iterator[Line]:
        for item in report.pushed:
            verb = "would push" if report.dry_run else "pushed"
            sent = "" if item.sent_bytes is None else f", {size_text(item.sent_bytes)} sent"
            yield [text.good(f"{verb} "), f"{item.manifest.stem}  {size_text(item.manifest.size_bytes)}{sent}"]
        yield f"{text.count(len(report.skipped), 'checkpoint')} there already, in {report.store}"
        if far is not None:
            yield f"far store {text.escape(far.url)}: {size_text(far.sent_bytes)} sent"

    return Answer(lambda: {**report.to_json(), "far": far.to_json() if far is not None else None}, lines)


def pull(arguments: Namespace, output: Output) -> Answer:
    """Bring a run's newest checkpoint from its store."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    return pulled(project, run, output, url=arguments.store, mine=arguments.mine, dry_run=arguments.dry_run)


def pulled(
    project: Project, run: RunConfig, output: Output, *, url: str | None = None, mine: bool = False, dry_run: bool
) -> Answer:
    """Bring a run's newest checkpoint from a store, for `pull` and for `restore` in an empty clone."""
    from ..sync.store import pull as pulling

    report = pulling.pull(project, run, Reporter(output), url=url, mine=mine, dry_run=dry_run)

    def lines() -> Iterator[Line]:
        for item in report.scenarios:
            stem = item.version.stem
            if item.behind:
                yield f"{item.version.scenario}: the tree has {stem} or something newer"
            elif item.received_bytes is None:
                yield [text.good("would pull "), stem]
            else:
                yield [text.good("pulled "), f"{stem}  {size_text(item.received_bytes)} received"]
        yield session_text.next_line(f"ckptsync launch {run.name}")

    return Answer(report.to_json, lines)


def scrub(arguments: Namespace, output: Output) -> Answer:
    """Look for damage in the store."""
    from ..sync.store import scrub as scrubbing

    project = targets.project_of(arguments)
    report = scrubbing.scrub(
        project, Reporter(output), url=arguments.store, structure=arguments.structure, part=arguments.part
    )

    def lines() -> Iterator[Line]:
        for item in report.damage:
            yield [text.bad("damaged "), f"{item.key}: {item.problem}"]
            yield from (f"  needed by {key}" for key in item.versions)
        looked = text.count(report.objects, "object")
        if report.damage:
            yield f"{text.count(len(report.damage), 'damaged thing')} in {report.store}; {looked} read"
            yield session_text.next_line("ckptsync repair --dry-run")
        else:
            yield [text.good("no damage"), f" in {report.store}; {looked} read"]

    return Answer(report.to_json, lines, report.exit_code)


def list_versions(arguments: Namespace, output: Output) -> Answer:
    """List a run's checkpoints in its store, for `ls --store`."""
    from ..sync.store import stores

    project = targets.project_of(arguments)
    report = stores.list_store(project, project.run(arguments.target), reporter=Reporter(output))

    def lines() -> Iterator[Line]:
        for item in report.versions:
            key = item.key
            score = "" if key.score is None else f"  {key.score:g}"
            named = " ".join([*(["head"] if item.head else []), *item.tags])
            yield [f"{key.scenario}  {key.num_timesteps:>12,}  {key.kind:<9}{score}  ", text.strong(named)]
        yield f"{text.count(len(report.versions), 'version')} of {report.run} in {report.store}"

    return Answer(report.to_json, lines)
