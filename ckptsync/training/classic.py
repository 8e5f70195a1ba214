"""Seal what an unmodified script left: plain SB3 files in the classic place.

Such a script knows nothing of sets. It may have removed or overwritten files of the sets that were laid for
it; then those sets end here. What it saved becomes a chain of sets of this session, and the head moves to the
newest, unless the script evidently began from zero where it should have gone on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core import heads, names, sets
from ..core.clock import now
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry, Manifest
from ..core.readers import ModelReport, read_model
from ..core.session import EventLog, SessionSpec
from ..core.sets import SetState, StoredSet

_REASON = "a plain SB3 file holds weights, optimizer and num_timesteps, not the state of environments and generators"


@dataclass(frozen=True)
class ClassicEnd:
    """How the script ended, for scenarios that cannot say it themselves.

    Args:
        cause: why the script ended, one of core.session.CAUSES; `target` is found out per scenario.
        signal: the name of the signal that it was sent, or None.
    """

    cause: str
    signal: str | None = None


def seal_classic(
    spec: SessionSpec,
    tree: TrainingTree,
    log: EventLog,
    end: ClassicEnd,
    *,
    say: Callable[[str], None],
) -> list[Manifest]:
    """Seal the new files of plain SB3 and move the heads; write the events that the script did not write.

    Args:
        spec: what the session was told.
        tree: the session's tree; the caller holds its lock, and the script has ended.
        log: the session's events.
        end: how the script ended.
        say: prints one line.

    Returns:
        The manifests of the new sets.
    """
    targets = {scenario.name: scenario.total_timesteps for scenario in spec.scenarios}
    ended = _end_broken_sets(tree, targets)
    stored = sets.scan(tree.checkpoints)
    sealed: list[Manifest] = []
    for scenario, target in targets.items():
        unsealed = [s for s in stored if s.scenario == scenario and s.state is SetState.UNSEALED]
        origin = spec.heads.get(scenario)
        if not unsealed:  # the script did not get to this scenario, or not as far as a save
            if any(manifest.scenario == scenario for manifest in ended.values()):
                _move_head(tree, scenario, [])
            continue
        begin = origin.num_timesteps if origin else 0
        new = _read_sound(unsealed, log, say)
        restarted = [plain for plain, report in new if origin and _before_head(plain, report, begin, ended)]
        if restarted:
            message = (
                f"scenario {scenario} should have gone on from num_timesteps {begin}, and the script saved "
                f"{', '.join(s.model_path.name for s in restarted)}: it began from zero, so nothing of it is sealed"
            )
            _warn(scenario, message, log, say)
            new, begin, origin = [], 0, None
        log.write(
            "start",
            scenario=scenario,
            num_timesteps=begin,
            target=target,
            resumed_from=origin.to_json() if origin else None,
            fidelity={"resumed": "weights", "reasons": [_REASON]} if origin else None,
        )
        chain: list[Manifest] = []
        for plain, report in new:
            chain.append(sets.seal_in_place(tree.checkpoints, _manifest(spec, plain, report, chain)))
            log.write("save", **_save_event(chain[-1]))
            say(f"[CHECKPOINT] sealed {plain.model_path.name} ({chain[-1].size_bytes:,} bytes)")
        _move_head(tree, scenario, chain)
        last = chain[-1].num_timesteps if chain else begin
        log.write(
            "end",
            scenario=scenario,
            cause="target" if last >= target and end.cause == "exit" else end.cause,
            num_timesteps=last,
            checkpoints=len(chain),
            signal=end.signal,
        )
        sealed += chain
    return sealed


def _end_broken_sets(tree: TrainingTree, scenarios: Mapping[str, int]) -> dict[str, Manifest]:
    """End sets whose files the script removed or overwrote; an overwritten model stays, as a plain file."""
    ended: dict[str, Manifest] = {}
    hashed: sets.Hashed = {}
    for stored in sets.scan(tree.checkpoints):
        manifest = stored.manifest
        if stored.scenario not in scenarios or manifest is None:
            continue
        if not sets.check_files(tree.checkpoints, manifest, hashed):
            continue
        ended[stored.stem] = manifest
        if not stored.model_path.exists():
            sets.remove_set(tree.checkpoints, manifest)
            continue
        sets.unseal(tree.checkpoints, manifest)  # its other files belong to the weights that are gone
    return ended


def _read_sound(
    unsealed: list[StoredSet], log: EventLog, say: Callable[[str], None]
) -> list[tuple[StoredSet, ModelReport]]:
    """Read plain files in the order of N; say which ones cannot be sealed, and why."""
    sound: list[tuple[StoredSet, ModelReport]] = []
    for plain in sorted(unsealed, key=lambda s: s.num_timesteps):
        name = plain.model_path.name
        wanted = names.model_name(names.checkpoint_stem(plain.scenario, plain.num_timesteps))
        if name != wanted:
            _warn(plain.scenario, f"{name} is not sealed: only a file named {wanted} can be", log, say)
            continue
        report = read_model(plain.model_path, own=True)
        blockers = [str(finding) for finding in report.findings if finding.verdict is not None]
        if blockers:
            _warn(plain.scenario, f"{name} is not sealed: {blockers[0]}", log, say)
        else:
            sound.append((plain, report))
    return sound


def _before_head(plain: StoredSet, report: ModelReport, begin: int, ended: Mapping[str, Manifest]) -> bool:
    # A script that goes on may save the very state that it loaded once more; it cannot be anywhere before it
    if plain.num_timesteps == begin and plain.stem in ended:
        return report.content != ended[plain.stem].model.content
    return plain.num_timesteps <= begin


def _warn(scenario: str, message: str, log: EventLog, say: Callable[[str], None]) -> None:
    say(f"[CHECKPOINT] WARNING: {message}")
    log.write("warning", scenario=scenario, message=message)


def _manifest(spec: SessionSpec, stored: StoredSet, report: ModelReport, chain: list[Manifest]) -> Manifest:
    origin = spec.heads.get(stored.scenario)
    return Manifest(
        scenario=stored.scenario,
        num_timesteps=stored.num_timesteps,
        kind="periodic",
        files=(FileEntry(stored.model_path.name, "model", report.size_bytes, report.digest, report.content),),
        signature=report.signature,
        lineage=spec.lineage,
        generation=spec.generation,
        session=spec.session,
        version=spec.version,
        parent=chain[-1].digest if chain else (origin.digest if origin else None),
        resumed_from=origin,
        captured="weights",
        captured_reasons=(_REASON,),
        versions=report.versions,
        created_at=now(),
    )


def _save_event(manifest: Manifest) -> dict[str, Any]:
    return {
        "scenario": manifest.scenario,
        "stem": manifest.stem,
        "num_timesteps": manifest.num_timesteps,
        "kind": manifest.kind,
        "digest": manifest.digest,
        "seconds": None,  # nobody has measured it
        "size_bytes": manifest.size_bytes,
        "captured": manifest.captured,
        "metrics": dict(manifest.metrics),
    }


def _move_head(tree: TrainingTree, scenario: str, chain: list[Manifest]) -> None:
    """Move the head to the newest new set; without one, keep it if its set is still there."""
    try:
        head = heads.read_head(tree, scenario)
    except ValueError:
        head = None  # the script damaged it; it is made new here, and only the note of the best set is lost
    left = [s.manifest for s in sets.newest(sets.scan(tree.checkpoints), scenario) if s.manifest is not None]
    digests = {manifest.digest for manifest in left}
    if not left:
        heads.remove_head(tree, scenario)
    elif chain or head is None or head.digest not in digests:
        best = head.best if head is not None and head.best is not None and head.best.digest in digests else None
        heads.write_head(tree, heads.Head.of(chain[-1] if chain else left[0], best))
