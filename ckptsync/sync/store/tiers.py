"""Copies in the stores of a project: sent by themselves after each trip, the near store first, then the far one.

A store that is down keeps nobody from training. What it has not got is found by comparing, not remembered, so the next
trip or `ckptsync push` makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...core.clock import now
from ...core.errors import CkptsyncError, LockedError
from ...core.policy import Retained, why_kept
from ...core.session import SavePolicy
from ...project.config import Project, RunConfig
from ...project.tiers import FAR, NEAR, Tier
from ...store.repository import Repository, VersionKey, read_head
from ..reporting import Reporter
from .copy import copy_between
from .prune import judge, prune_in
from .push import PushReport, push, push_to, pushable, required
from .stores import StoredVersion, opened, stored_versions
from .tier_states import TierState as TierState
from .tier_states import keep, last_seen

# How long a far store that says nothing is waited for at the end of a trip
_FAR_SECONDS = 3.0
_ASK_SECONDS = 3.0
# What a tier gets -> which reasons to keep a checkpoint count for it
_REASONS = {
    "all": frozenset({"last", "best", "final", "every"}),
    "milestones": frozenset({"best", "final", "every"}),
    "final": frozenset({"final"}),
}


def send_copies(project: Project, run: RunConfig, reporter: Reporter) -> tuple[TierState, ...]:
    """Send every store of a project what it lacks, and let go what its retention does not keep.

    A store that cannot be used is told of, and keeps nothing else from being done.

    Args:
        project: the project.
        run: the run.
        reporter: receives progress.

    Returns:
        One state for each store, the near one first; none where the project has no store, or sends nothing by itself.
    """
    if project.stores is None or not project.stores.push:
        return ()
    near, far = project.stores.near, project.stores.far
    states = []
    try:
        with opened(project, near.url, reporter=reporter) as repository:
            states.append(_near(project, run, near, repository, reporter)[0])
            if far is not None:
                states.append(_far(project, run, far, repository, reporter))
            if all(state.error is None for state in states):  # what goes from here may be what the far one still lacks
                states[0] = replace(states[0], removed=_prune(run, near, repository, reporter))
    except CkptsyncError as error:
        states[:1] = [_failed(project, run, near, error, reporter)]
        if far is not None and len(states) == 1:
            states.append(replace(last_seen(project, run, far), error="the near store could not be read"))
    for state in states:
        keep(project, run, state)
    return tuple(states)


def not_sent(states: Sequence[TierState]) -> str | None:
    """Say why the near store has not got everything; None where it has. A far one that is down is no failure."""
    return next((state.error for state in states if state.tier == NEAR and state.error is not None), None)


def push_everywhere(project: Project, run: RunConfig, reporter: Reporter) -> tuple[PushReport, TierState | None]:
    """Send every store what it lacks, with all the patience there is; for a person who waits.

    Returns:
        What went to the near store, and how the far one is now; None where there is none.

    Raises:
        CkptsyncError: as `push` for the near store, as `copy` for the far one; what was done before is there.
    """
    if project.stores is None:
        return push(project, run, reporter), None
    near, far = project.stores.near, project.stores.far
    with opened(project, near.url, reporter=reporter) as repository:
        state, report = _near(project, run, near, repository, reporter)
        keep(project, run, state)
        copied = None
        if far is not None:
            wanted = chosen(stored_versions(repository, run), far, run.save)
            with opened(project, far.url, reporter=reporter) as target:
                copied = _forward(run, far, repository, target, wanted, reporter)
            keep(project, run, copied)
        _prune(run, near, repository, reporter)
    return report, copied


def _near(
    project: Project, run: RunConfig, tier: Tier, repository: Repository, reporter: Reporter
) -> tuple[TierState, PushReport]:
    candidates = required(project, run)
    keys = {manifest.digest: VersionKey.of(run.name, manifest) for _, manifest in candidates}
    # What takes everything, for nobody else, is not asked for all that it has: that takes longer with each version
    takes_all = tier.copies == "all" and not tier.keep and (project.stores is None or project.stores.far is None)
    there = [] if takes_all else stored_versions(repository, run)
    new = [StoredVersion(key, False, ()) for key in keys.values() if key not in {item.key for item in there}]
    known = [*there, *new]
    staying = {key.digest for key in chosen(known, tier, run.save)} | _still_to_go_far(project, run, known)
    wanted = [(stored, manifest) for stored, manifest in candidates if manifest.digest in staying]
    report = push_to(repository, run, wanted, reporter)
    holds = keys.keys() & (staying | {item.key.digest for item in there})
    sent = sum(item.sent_bytes or 0 for item in report.pushed)
    return _reached(tier, repository, run, holds, sent), report


def _still_to_go_far(project: Project, run: RunConfig, versions: Sequence[StoredVersion]) -> set[str]:
    """Return digests of what the far store is to have and has not, by what was last seen of it."""
    if project.stores is None or (far := project.stores.far) is None:
        return set()
    return {key.digest for key in chosen(versions, far, run.save)} - last_seen(project, run, far).holds


def _far(project: Project, run: RunConfig, tier: Tier, near: Repository, reporter: Reporter) -> TierState:
    wanted = chosen(stored_versions(near, run), tier, run.save)
    try:
        with opened(project, tier.url, patience_seconds=_FAR_SECONDS) as repository:
            return _forward(run, tier, near, repository, wanted, reporter)
    except CkptsyncError as error:
        failed = _failed(project, run, tier, error, reporter)
        return replace(failed, waiting=len({key.digest for key in wanted} - failed.holds))


def _forward(
    run: RunConfig, tier: Tier, near: Repository, far: Repository, wanted: Sequence[VersionKey], reporter: Reporter
) -> TierState:
    report = copy_between(near, far, run, wanted, reporter)
    removed = _prune(run, tier, far, reporter)
    state = _reached(tier, far, run, {key.digest for key in far.versions(run.name)}, report.sent_bytes or 0)
    return replace(state, removed=removed)


def chosen(versions: Sequence[StoredVersion], tier: Tier, save: SavePolicy) -> list[VersionKey]:
    """Return those versions that a tier is to have, in their order; what its retention would remove never goes there."""
    if tier.copies == "all" and not tier.keep:
        return [item.key for item in versions]
    policy = tier.policy(save)
    allowed = _REASONS[tier.copies]
    named = {item.key for item in versions if item.tags or (item.head and tier.copies == "all")}
    for scenario in {item.key.scenario for item in versions}:
        known = {item.key.digest: item.key for item in versions if item.key.scenario == scenario}
        sets = [Retained(key.digest, key.order, key.kind, score=key.score) for key in known.values()]
        named |= {known[digest] for digest, why in why_kept(sets, policy).items() if allowed.intersection(why)}
    return [item.key for item in versions if item.key in named]


def _prune(run: RunConfig, tier: Tier, repository: Repository, reporter: Reporter) -> int:
    """Let go what the tier's retention does not keep; return how many versions that are."""
    if not tier.keep:
        return 0
    policy = tier.policy(run.save)
    gone = sum(1 for item in judge(stored_versions(repository, run), policy) if not item.why)
    if gone:  # removing looks at everything in the store, so only where there is something to remove
        try:
            prune_in(repository, run, policy, reporter, wait_seconds=0.0)
        except CkptsyncError as error:
            tell = reporter.line if isinstance(error, LockedError) else reporter.warn
            tell(f"the {tier.name} store keeps what its retention lets go, until next time: {error.message}")
            return 0
    return gone


def _reached(tier: Tier, repository: Repository, run: RunConfig, holds: Iterable[str], sent_bytes: int) -> TierState:
    at = now()
    return TierState(tier.name, tier.url, at, at, _heads(repository, run), frozenset(holds), sent_bytes=sent_bytes)


def _heads(repository: Repository, run: RunConfig) -> dict[str, int]:
    found = {name: read_head(repository, run.name, name) for name in run.scenario_names}
    return {name: head.version.num_timesteps for name, head in found.items() if head is not None}


def _failed(project: Project, run: RunConfig, tier: Tier, error: CkptsyncError, reporter: Reporter) -> TierState:
    after = "the next trip tries again" if tier.name == FAR else f"'ckptsync push {run.name}' sends it"
    hint = f" ({error.hint})" if error.hint else ""
    reporter.warn(f"the {tier.name} store has not got what is new: {error.message}{hint}; {after}")
    before = last_seen(project, run, tier)
    here = {manifest.digest for _, manifest in pushable(project, run)}
    return replace(before, waiting=len(here - before.holds), error=error.message)


def ask_near(project: Project, run: RunConfig) -> TierState:
    """Ask the near store what its heads name; what keeps it from answering stands in the state."""
    if project.stores is None:
        raise ValueError("there is no store")
    near = project.stores.near
    state = TierState(near.name, near.url, now())
    try:
        with opened(project, near.url, patience_seconds=_ASK_SECONDS) as repository:
            return replace(state, reached_at=state.checked_at, heads=_heads(repository, run))
    except CkptsyncError as error:
        return replace(state, error=error.message)
