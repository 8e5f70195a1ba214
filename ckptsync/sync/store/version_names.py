"""What a word means among the versions of a run in a store: head, best, a tag, steps, a stem, a digest."""

from __future__ import annotations

from collections.abc import Iterator

from ...core import names
from ...core.errors import NothingFoundError, UsageError
from ...project.config import RunConfig
from ...store.repository import Repository, Tag, VersionKey, read_head, read_tag

HEAD, BEST = "head", "best"
# As few digits of a digest tell versions apart
_LEAST_DIGITS = 6
_SHOWN_DIGITS = 12


def find_version(repository: Repository, run: RunConfig, word: str, scenario: str | None = None) -> VersionKey:
    """Return the version of a run that a word names.

    Args:
        repository: where to look.
        run: the run.
        word: `head`, `best`, a tag, a number of steps, a stem, or the first digits of a digest.
        scenario: only of this one.

    Raises:
        NothingFoundError: there is none.
        UsageError: several are meant.
    """
    scenarios = run.scenario_names if scenario is None else (scenario,)
    found = [key for name in scenarios for key in _meant(repository, run.name, name, word)]
    if not found:
        of = f", scenario {names.printable(scenario)}" if scenario is not None else ""
        raise NothingFoundError(
            f"{repository.store.url} has no version {names.printable(word)} of {run.name}{of}",
            hint=f"'ckptsync ls {run.name} --store' lists them; head, best, a tag, steps or a digest name one",
        )
    if len(found) > 1:
        raise UsageError(
            f"{names.printable(word)} may be any of {', '.join(map(in_words, found))}",
            hint="name one by the first digits of its digest, or choose with --scenario",
        )
    return found[0]


def in_words(key: VersionKey) -> str:
    """Return a version as people tell it from others."""
    return f"{key.stem} ({key.digest.removeprefix('sha256:')[:_SHOWN_DIGITS]})"


def best_of(versions: list[VersionKey]) -> VersionKey | None:
    """Return the version of the highest score, the oldest of equal ones; None where none has a score."""
    scored = [key for key in sorted(versions, key=lambda key: key.order) if key.score is not None]
    return max(scored, key=lambda key: key.score or 0.0, default=None)


def check_tag(name: str) -> str:
    """Return a name unchanged if it may be a tag's. Raises UsageError when it means something else."""
    if name in (HEAD, BEST) or name.isdecimal():
        raise UsageError(f"{names.printable(name)} cannot be a tag: it means something already", hint="another name")
    return names.check_scenario(name)


def tag_named(repository: Repository, run: str, scenario: str, word: str) -> Tag | None:
    """Return the tag that a word is the name of; None where it is none's. Raises CorruptError where it is damaged."""
    try:
        return read_tag(repository, run, scenario, check_tag(word))
    except (NothingFoundError, UsageError):
        return None


def _meant(repository: Repository, run: str, scenario: str, word: str) -> Iterator[VersionKey]:
    if word == HEAD:
        head = read_head(repository, run, scenario)
        yield from [head.version] if head is not None else []
        return
    if (tagged := tag_named(repository, run, scenario, word)) is not None:
        yield tagged.version
        return
    versions = list(repository.versions(run, scenario))
    if word == BEST:
        best = best_of(versions)
        yield from [best] if best is not None else []
        return
    digits = word.removeprefix("sha256:").lower()
    exact = [key for key in versions if key.stem == word or (word.isdecimal() and key.num_timesteps == int(word))]
    by_digest = [key for key in versions if len(digits) >= _LEAST_DIGITS and key.digest[7:].startswith(digits)]
    yield from exact or by_digest
