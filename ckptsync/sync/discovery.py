"""What a service knows of a run and the ledger does not: sessions of another machine, or of a ledger that is gone.

Two machines may plan at the same time, and both call their session s0003. The service numbers what it is given,
so one of the two came first, and everybody sees which: **a session's id belongs to whoever was first**. The other
one is no session of the run; what it leaves is fetched by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..project.config import Project, RunConfig
from ..project.ledger import Ledger
from ..project.lineage import SessionRecord, records
from ..runners.base import Discovered, RemoteRunner
from .ledgers import known_records, open_ledger
from .reporting import Reporter
from .runners import runner_for

# How many sessions a ledger that knows none takes in, and how far back one that knows some is ready to look
_FIRST_LOOK = 20
_LOOKS = (2, 8, 32, 128)


def discover(project: Project, run: RunConfig, runner: str, reporter: Reporter) -> list[SessionRecord]:
    """Write what the service of a runner knows of a run into the ledger; a runner without a service knows nothing.

    A session that was planned here and that the service has under the same words is called started. One that it
    has under other words belongs to another machine, which came first: it takes the place of ours.

    Args:
        project: the project.
        run: the run.
        runner: the runner's name.
        reporter: receives what was found.

    Returns:
        The sessions that are new in the ledger, oldest first.
    """
    service = runner_for(project, runner, run.name, tell=reporter.line)
    if not isinstance(service, RemoteRunner):
        return []
    found = _newest(service, run.name, _by_session(known_records(project, run.name)))
    first: dict[str, Discovered] = {}
    for each in reversed(found):
        if each.spec.run == run.name:
            first.setdefault(each.spec.session, each)
    ledger = open_ledger(project)
    with ledger.transaction():
        known = _by_session(records(ledger.entries(), run.name))
        # A session that was started and is not among them lies further back, so nothing of its name came before it
        behind = {
            session
            for session, record in known.items()
            if record.handle is not None and not any(_is_known(record, each) for each in found)
        }
        new = [
            session
            for session, each in first.items()
            if session not in behind and _take_in(ledger, known.get(session), each, reporter)
        ]
    after = _by_session(known_records(project, run.name))
    return [after[session] for session in new]


def newest(service: RemoteRunner, run: str) -> Discovered | None:
    """Return the newest session of a run that a service knows; it may be one that came second."""
    return next(iter(service.discover(run, limit=1)), None)


def _by_session(found: list[SessionRecord]) -> Mapping[str, SessionRecord]:
    return {record.session: record for record in found}


def _newest(service: RemoteRunner, run: str, known: Mapping[str, SessionRecord]) -> list[Discovered]:
    """Ask for sessions until one is among them that is known: what lies behind it is known too."""
    started = any(record.handle is not None and record.runner == service.name for record in known.values())
    found: list[Discovered] = []
    for limit in _LOOKS if started else (_FIRST_LOOK,):
        found = service.discover(run, limit=limit)
        if len(found) < limit or any(_is_known(known.get(each.spec.session), each) for each in found):
            break
    return found


def _is_known(record: SessionRecord | None, each: Discovered) -> bool:
    if record is None or record.handle is None or record.runner != each.handle.runner:
        return False
    ours, theirs = record.handle["reference"], each.handle.reference
    return all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())


def _take_in(ledger: Ledger, record: SessionRecord | None, each: Discovered, reporter: Reporter) -> bool:
    """Write one session into the ledger, if it is not there; returns whether it is a new one."""
    run, session, handle = each.spec.run, each.spec.session, each.handle.to_json()
    if _is_known(record, each):
        return False
    if record is not None and (record.settled or record.state is not None or record.runner != each.handle.runner):
        if record.spec != each.spec:
            reporter.warn(f"{each.handle.runner} has another {session}, made elsewhere; it is left alone")
        return False
    if record is not None and record.spec == each.spec:
        ledger.append("started", run=run, session=session, handle=handle)
        return False
    if record is not None:
        reporter.warn(f"another {session} came first on {each.handle.runner}; it takes the place of ours")
    planned = {"spec": each.spec.to_json(), "runner": each.handle.runner, "inputs": [], "discovered": True}
    ledger.append_all([("planned", planned), ("started", {"handle": handle})], run=run, session=session)
    return True
