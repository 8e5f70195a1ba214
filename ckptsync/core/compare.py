"""Comparing two signatures: whether a checkpoint fits the current network, and if not, why in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .findings import Finding, Verdict, blocker
from .signature import NetArch, Signature, Space, TensorSpec

FRESH = "or start over with 'ckptsync launch --fresh', which moves the old tree to the attic"
_SHOWN_PARAMETERS = 12

# the first layer of each network that SB3 builds: its second size is the number of inputs
_FIRST_LAYERS = re.compile(
    r"mlp_extractor\.(?:shared_net|policy_net|value_net)\.0\.weight|actor\.(?:latent_pi|mu)\.0\.weight"
    r"|(?:q_net\.q_net|quantile_net\.quantile_net|action_net)\.0\.weight"
)
_CRITIC_LAYERS = re.compile(r"critic(?:_target)?\.qf\d+\.0\.weight")
_IMAGE_LAYERS = re.compile(r"(?:\w+\.)*features_extractor\.(?:\w+\.)*cnn\.0\.weight|features_extractor\.cnn\.0\.weight")
# the last layer of the actor: its first size is the number of actions
_LAST_LAYERS = re.compile(r"action_net\.(?:weight|bias)|actor\.mu\.(?:weight|bias)|log_std")

# what extra or missing parameters give away: pattern -> what the side that has them does
_TELLTALES = (
    (re.compile(r"(?:.*\.)?lstm(?:_\w+)?\..*"), "has a recurrent policy (an LSTM, as RecurrentPPO has)"),
    (re.compile(r"(?:.*\.)?features_extractor\.(?:.*\.)?cnn\..*"), "sees images (CnnPolicy)"),
    (re.compile(r"critic(?:_target)?\.qf\d+\..*"), "has more critics (n_critics in policy_kwargs)"),
    (re.compile(r"_orig_mod\..*"), "was compiled with torch.compile, which renames every parameter"),
    (re.compile(r"module\..*"), "was wrapped in DataParallel, which renames every parameter"),
    (re.compile(r"(?:actor\.)?log_std"), "has continuous actions with a learned spread (log_std)"),
    (re.compile(r".*\.\d+\.(?:weight|bias)"), "has more hidden layers (net_arch in policy_kwargs)"),
)


def compare(checkpoint: Signature, current: Signature) -> tuple[Finding, ...]:
    """Say where a checkpoint differs from the network that it should go on with.

    Args:
        checkpoint: what the file holds; `actual` in the findings.
        current: what is expected; `expected` in the findings.

    Returns:
        Blockers: first algorithm, policy, layers and spaces (each only where both sides know it), then every
        parameter that differs, is missing or is extra, with its name as the subject. Empty when nothing differs.
    """
    findings = [*_compare_names(checkpoint, current), *_compare_layers(checkpoint, current)]
    findings += _compare_spaces(checkpoint, current)
    causes = _Causes(checkpoint, current)
    findings += _compare_parameters(checkpoint.parameters, current.parameters, causes)
    return tuple(findings)


def describe_incompatibility(findings: Iterable[Finding]) -> list[str]:
    """Put findings of `compare` into the lines that people look for in a log.

    Args:
        findings: any findings; those that do not mean "incompatible" are left out.

    Returns:
        `INCOMPATIBILITY DETECTED:`, one line for each difference, the likely causes and a recommendation; no line at
        all when nothing is incompatible.
    """
    relevant = [finding for finding in findings if finding.verdict is Verdict.INCOMPATIBLE]
    if not relevant:
        return []
    lines = ["INCOMPATIBILITY DETECTED:"]
    summaries = [finding for finding in relevant if finding.code in _LABELS]
    parameters = [finding for finding in relevant if finding.code not in _LABELS]
    for finding in summaries:
        lines.append(f"- {_LABELS[finding.code]}: {_sides(finding)}")
    for finding in parameters[:_SHOWN_PARAMETERS]:
        lines.append(f"- Parameter {finding.subject}: {_sides(finding)}")
    if len(parameters) > _SHOWN_PARAMETERS:
        lines.append(f"- ... and {len(parameters) - _SHOWN_PARAMETERS} more parameters")
    causes = dict.fromkeys(finding.hint.partition("; ")[0] for finding in relevant if finding.hint)
    lines += [f"Likely cause: {cause}" for cause in causes]
    lines.append(f"Recommendation: go back to the settings that the checkpoint was made with, {FRESH}")
    return [_printable(line) for line in lines]


def _printable(line: str) -> str:
    """Escape what would break a line or steer a terminal: names come from files."""
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


_LABELS = {
    "arch.algorithm": "Algorithm",
    "arch.policy": "Policy",
    "arch.net-arch": "Architecture",
    "arch.observation-space": "Observation space",
    "arch.action-space": "Action space",
}


def _sides(finding: Finding) -> str:
    actual = "none" if finding.actual is None else finding.actual
    expected = "none" if finding.expected is None else finding.expected
    return f"checkpoint={actual}, current={expected}"


def _hint(cause: str) -> str:
    return f"{cause}; go back to the old settings, {FRESH}"


def _compare_names(checkpoint: Signature, current: Signature) -> Iterator[Finding]:
    pairs = (
        ("arch.algorithm", "algorithm", checkpoint.algorithm, current.algorithm),
        ("arch.policy", "policy", checkpoint.policy, current.policy),
    )
    for code, subject, actual, expected in pairs:
        if actual is not None and expected is not None and actual != expected:
            yield blocker(code, subject, expected, actual, _hint(f"the {subject} changed from {actual} to {expected}"))


def _plain_layers(layers: NetArch) -> NetArch:
    """Write `{"pi": [64], "vf": [64]}` as `[64]`: the same network in SB3's two ways."""
    if isinstance(layers, dict) and layers:
        first, *others = layers.values()
        if all(sizes == first for sizes in others):
            return first
    return layers


def _compare_layers(checkpoint: Signature, current: Signature) -> Iterator[Finding]:
    if checkpoint.net_arch is None or current.net_arch is None:
        return
    actual, expected = _plain_layers(checkpoint.net_arch), _plain_layers(current.net_arch)
    if actual != expected:
        cause = _layers_cause(actual, expected)
        yield blocker("arch.net-arch", "net_arch", expected, actual, _hint(cause))


def _layers_cause(actual: NetArch, expected: NetArch) -> str:
    return f"hidden layers changed from {actual} to {expected}: net_arch in policy_kwargs changed"


def _compare_spaces(checkpoint: Signature, current: Signature) -> Iterator[Finding]:
    pairs = (
        ("arch.observation-space", "observation_space", checkpoint.observation_space, current.observation_space),
        ("arch.action-space", "action_space", checkpoint.action_space, current.action_space),
    )
    for code, subject, actual, expected in pairs:
        if _spaces_differ(actual, expected):
            cause = f"the {subject.replace('_', ' ')} changed: another environment, or another version of it"
            yield blocker(code, subject, expected, actual, _hint(cause))


def _spaces_differ(actual: Space | None, expected: Space | None) -> bool:
    """Whether two spaces differ for sure: not where only one of them could be read."""
    if actual is None or expected is None:
        return False
    if (actual.get("kind") == "unknown") != (expected.get("kind") == "unknown"):
        return False
    return dict(actual) != dict(expected)


def _compare_parameters(
    checkpoint: Mapping[str, TensorSpec], current: Mapping[str, TensorSpec], causes: _Causes
) -> Iterator[Finding]:
    for name, expected in current.items():
        actual = checkpoint.get(name)
        if actual is None:
            hint = _hint(causes.for_missing(name))
            yield blocker("arch.parameter-missing", name, list(expected.shape), None, hint)
            continue
        if actual.shape != expected.shape:
            hint = _hint(causes.for_shape(name))
            yield blocker("arch.parameter-shape", name, list(expected.shape), list(actual.shape), hint)
        if actual.dtype != expected.dtype:
            hint = _hint(f"numbers are {actual.dtype} in the checkpoint and {expected.dtype} now")
            yield blocker("arch.parameter-dtype", name, expected.dtype, actual.dtype, hint)
    for name, actual in checkpoint.items():
        if name not in current:
            hint = _hint(causes.for_extra(name))
            yield blocker("arch.parameter-extra", name, None, list(actual.shape), hint)


class _Causes:
    """The likely causes of differences between two networks, worked out once."""

    def __init__(self, checkpoint: Signature, current: Signature) -> None:
        self._by_name: dict[str, str] = {}
        self._general = "the network's code or its arguments changed"
        old, new = checkpoint.net_arch, current.net_arch
        if old is not None and new is not None and _plain_layers(old) != _plain_layers(new):
            self._general = _layers_cause(_plain_layers(old), _plain_layers(new))
        for name, spec in checkpoint.parameters.items():
            other = current.parameters.get(name)
            if other is not None and other.shape != spec.shape:
                self._note(name, spec.shape, other.shape)

    def _note(self, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        if len(old) != len(new):
            if name.endswith("log_std"):
                self._by_name[name] = "state-dependent exploration (use_sde) was switched"
        elif _FIRST_LAYERS.fullmatch(name) and len(old) == 2 and old[1] != new[1]:
            takes = f"the first layer takes {new[1]} inputs where the checkpoint has {old[1]}"
            self._by_name[name] = f"{takes}: the observation space changed"
        elif _CRITIC_LAYERS.fullmatch(name) and len(old) == 2 and old[1] != new[1]:
            takes = f"the critic takes {new[1]} inputs (observation and action) where the checkpoint has {old[1]}"
            self._by_name[name] = f"{takes}: the observation or action space changed"
        elif _IMAGE_LAYERS.fullmatch(name) and old[1:2] != new[1:2]:
            takes = f"the first layer sees {new[1]} image channels where the checkpoint has {old[1]}"
            self._by_name[name] = f"{takes}: the observation space changed (frame stacking?)"
        elif _LAST_LAYERS.fullmatch(name) and old[0] != new[0]:
            gives = f"the last layer gives {new[0]} actions where the checkpoint has {old[0]}"
            self._by_name[name] = f"{gives}: the action space changed"

    def for_shape(self, name: str) -> str:
        return self._by_name.get(name, self._general)

    def for_missing(self, name: str) -> str:
        return self._telltale(name, "the current network")

    def for_extra(self, name: str) -> str:
        return self._telltale(name, "the checkpoint")

    def _telltale(self, name: str, side: str) -> str:
        return next((f"{side} {does}" for pattern, does in _TELLTALES if pattern.fullmatch(name)), self._general)
