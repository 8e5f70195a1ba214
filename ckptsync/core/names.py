"""Ids and file names: the only place that builds or parses them.

    <scenario>_checkpoint_<N>_steps.zip             the model of a set        stem = without the suffix
    <scenario>_checkpoint_<N>_steps.manifest.json   its seal
    <scenario>_checkpoint_<N>_steps.pending         intent: the set is being written
    <scenario>_checkpoint_<N>_steps.deleting        intent: the set is being removed
    <scenario>_replay/<start>-<end>-<16 hex>.safetensors   a segment: rows that several sets share
    <scenario>_head.json                            which set the next session starts from
    <run>/s0003                                     a session's id

Every name from outside (archives, services, manifests) passes `check_component` or
`check_relative` before it touches a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import UnsafePathError, UsageError

MANIFEST_SUFFIX = ".manifest.json"
PENDING_SUFFIX = ".pending"
DELETING_SUFFIX = ".deleting"
MODEL_SUFFIX = ".zip"
HEAD_SUFFIX = "_head.json"
PARTIAL_SUFFIX = ".partial"
SEGMENTS_SUFFIX = "_replay"

MAX_COMPONENT_BYTES = 255
# With the longest suffix of ours a scenario's files still fit into MAX_COMPONENT_BYTES
MAX_SCENARIO_BYTES = 100
MAX_DIGITS = 18

_STEM = re.compile(
    rf"(?P<scenario>.+)_checkpoint_(?P<steps>0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})_steps", re.ASCII | re.DOTALL
)
_SEGMENT = re.compile(
    rf"(?P<start>0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})-(?P<end>[1-9][0-9]{{0,{MAX_DIGITS - 1}}})-(?P<digest>[0-9a-f]{{16}})"
    r"\.safetensors",
    re.ASCII,
)
_SECRET = re.compile(r"TOKEN(?!I[ZS])|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL|KAGGLE_KEY", re.IGNORECASE)
# What SB3's CheckpointCallback writes with any other name_prefix: rl_model_2000_steps
_CLASSIC_STEM = re.compile(
    rf"(?P<scenario>.+)_(?P<steps>0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})_steps", re.ASCII | re.DOTALL
)
_SESSION = re.compile(r"(?P<run>.+)/s(?P<number>[0-9]{4}|[1-9][0-9]{4,8})", re.ASCII | re.DOTALL)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.ASCII | re.DOTALL)
_DRIVE = re.compile("[A-Za-z]:")
# C0 and C1 controls, line and paragraph separators, direction marks: none of them belongs into a name
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, order=True)
class StemParts:
    """What a stem says: the scenario and num_timesteps."""

    scenario: str
    num_timesteps: int


@dataclass(frozen=True, order=True)
class SegmentParts:
    """What a segment's name says.

    Args:
        start: its first row, counted from the first row that was ever added.
        end: the row behind its last one.
        digest: the first 16 hexadecimal digits of its bytes' sha256, so a name never stands for two contents.
    """

    start: int
    end: int
    digest: str


def check_component(name: str, *, what: str = "file name") -> str:
    """Return a name unchanged if it is one safe path component.

    Raises:
        UnsafePathError: when it is empty, `.` or `..`, holds a separator, a control character or a
            lone surrogate, begins like a drive (`C:`), or is too long.
    """
    problem = None
    if name in ("", ".", ".."):
        problem = "it is empty or means a folder"
    elif "/" in name or "\\" in name:
        problem = "it holds a path separator"
    elif _DRIVE.match(name):
        problem = "it begins with the letter of a drive"
    elif _CONTROL.search(name):
        problem = "it holds a control character"
    else:
        try:
            if len(name.encode("utf-8")) > MAX_COMPONENT_BYTES:
                problem = f"it is longer than {MAX_COMPONENT_BYTES} bytes"
        except UnicodeEncodeError:
            problem = "it is no valid Unicode"
    if problem:
        raise UnsafePathError(f"unsafe {what} {printable(name)}: {problem}")
    return name


def check_relative(path: str, *, what: str = "path") -> tuple[str, ...]:
    """Split a relative path with `/` into safe components.

    Raises:
        UnsafePathError: when it is absolute, has a drive, or any component is unsafe.
    """
    if path.startswith("/") or _DRIVE.match(path):
        raise UnsafePathError(f"unsafe {what} {printable(path)}: it is absolute")
    return tuple(check_component(part, what=what) for part in path.split("/"))


def check_scenario(name: str) -> str:
    """Return a scenario's (or run's) name unchanged if it may stand in file names.

    Raises:
        UsageError: when it may not.
    """
    try:
        check_component(name, what="name")
    except UnsafePathError as error:
        raise UsageError(error.message, hint="use letters, digits, '-' and '_'") from None
    if len(name.encode()) > MAX_SCENARIO_BYTES or name.startswith((".", "-")) or name != name.strip():
        raise UsageError(
            f"{printable(name)} cannot be a name: at most {MAX_SCENARIO_BYTES} bytes, no leading '.' or '-', "
            "no space at either end",
            hint="use letters, digits, '-' and '_'",
        )
    return name


def printable(text: str) -> str:
    """Return foreign text quoted with every control character escaped, for messages and logs."""
    return repr(text) if len(text) <= 200 else repr(text[:200]) + "..."


def checkpoint_stem(scenario: str, num_timesteps: int) -> str:
    """Build the stem of a set.

    Raises:
        UsageError: when no set can have this scenario and N.
    """
    if not 0 <= num_timesteps < 10**MAX_DIGITS:
        raise UsageError(f"{num_timesteps} cannot be num_timesteps: it has 1 to {MAX_DIGITS} digits and no sign")
    return f"{check_scenario(scenario)}_checkpoint_{num_timesteps}_steps"


def parse_stem(stem: str, *, classic: bool = False) -> StemParts | None:
    """Parse the stem of a set, or return None.

    Args:
        stem: a file name without its suffix.
        classic: also accept `<prefix>_<N>_steps`, which plain SB3 writes with a prefix of the user's.
    """
    match = _STEM.fullmatch(stem) or (_CLASSIC_STEM.fullmatch(stem) if classic else None)
    return StemParts(match["scenario"], int(match["steps"])) if match else None


def model_name(stem: str) -> str:
    """Name of a set's model file."""
    return stem + MODEL_SUFFIX


def check_member(stem: str, name: str) -> str:
    """Return a name unchanged if a file of a set may have it: it begins with the stem and a dot.

    Raises:
        UnsafePathError: when it is another's file, or no safe name at all.
    """
    if not check_component(name).startswith(stem + "."):
        raise UnsafePathError(f"{printable(name)} is no file of the set {printable(stem)}")
    return name


def member_name(stem: str, role: str, extension: str) -> str:
    """Name of another member of a set: `<stem>.<role>.<extension>`."""
    return f"{stem}.{role}.{extension}"


def segment_folder(scenario: str) -> str:
    """Name of the folder beside a scenario's sets that holds their segments."""
    return check_scenario(scenario) + SEGMENTS_SUFFIX


def parse_segment_folder(name: str) -> str | None:
    """Return the scenario whose segments lie in a folder of this name, or None."""
    scenario = name.removesuffix(SEGMENTS_SUFFIX)
    try:
        return scenario if scenario != name and check_scenario(scenario) else None
    except UsageError:
        return None


def segment_name(start: int, end: int, digest: str) -> str:
    """Build a segment's name within its folder.

    Args:
        start: its first row, counted from the first row that was ever added.
        end: the row behind its last one.
        digest: `sha256:<hex>` of its bytes.

    Raises:
        UsageError: no segment can have these rows.
    """
    if not 0 <= start < end < 10**MAX_DIGITS:
        raise UsageError(f"no segment can hold the rows from {start} to {end}")
    return f"{start}-{end}-{digest.removeprefix('sha256:')[:16]}.safetensors"


def parse_segment(name: str) -> SegmentParts | None:
    """Parse a segment's name within its folder, or return None."""
    match = _SEGMENT.fullmatch(name)
    if match is None or int(match["start"]) >= int(match["end"]):
        return None
    return SegmentParts(int(match["start"]), int(match["end"]), match["digest"])


def check_segment(scenario: str, path: str) -> SegmentParts:
    """Parse a segment's path beside a set of its scenario, whose name has been checked.

    Raises:
        UnsafePathError: it lies anywhere else, or has no name that a segment can have.
    """
    folder, _, name = path.partition("/")
    parts = parse_segment(name)
    if parts is None or folder != scenario + SEGMENTS_SUFFIX:
        raise UnsafePathError(f"{printable(path)} is no segment of scenario {printable(scenario)}")
    return parts


def head_name(scenario: str) -> str:
    """Name of a scenario's head file."""
    return check_scenario(scenario) + HEAD_SUFFIX


def temporary_name(name: str, token: str) -> str:
    """Name under which a file is written before it gets its own.

    Args:
        name: the file's own name.
        token: eight hexadecimal digits that nobody else uses.
    """
    kept = name.encode(errors="surrogateescape")[: MAX_COMPONENT_BYTES - len(token) - 6]
    return f".{kept.decode(errors='surrogateescape')}.{token}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a file is what an interrupted write left behind."""
    return _TEMPORARY.fullmatch(name) is not None


def session_id(run: str, number: int) -> str:
    """Build a session's id: `cartpole_ppo/s0003`. Raises UsageError when the run's name may not be one."""
    return f"{check_scenario(run)}/s{number:04d}"


def parse_session_id(text: str) -> tuple[str, int]:
    """Split a session's id into run and number.

    Raises:
        UsageError: when it is no session id.
    """
    match = _SESSION.fullmatch(text)
    if match is None:
        raise UsageError(f"{printable(text)} is no session id", hint="a session id looks like cartpole_ppo/s0003")
    return check_scenario(match["run"]), int(match["number"])


def names_secret(variable: str) -> bool:
    """Whether the value of an environment variable of this name is never shown and never handed on."""
    return _SECRET.search(variable) is not None
