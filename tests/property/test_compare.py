"""Whatever the network: nothing differs from itself, and no single change goes unnamed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.compare import compare, describe_incompatibility
from ckptsync.core.findings import Severity
from ckptsync.core.signature import Signature, TensorSpec

specs = st.builds(
    TensorSpec,
    st.lists(st.integers(0, 512), max_size=4).map(tuple),
    st.sampled_from(["float32", "float16", "bfloat16", "int64", "bool"]),
)
names = st.one_of(
    st.text(min_size=1, max_size=20),
    st.from_regex(
        r"(mlp_extractor\.(policy|value)_net|critic\.qf[01]|actor\.mu)\.[0-9]\.(weight|bias)", fullmatch=True
    ),
    st.sampled_from(["log_std", "action_net.weight", "features_extractor.cnn.0.weight", "lstm_actor.bias_hh_l0"]),
)
layers = st.one_of(
    st.none(),
    st.lists(st.integers(1, 512), max_size=3),
    st.dictionaries(st.sampled_from(["pi", "vf", "qf"]), st.lists(st.integers(1, 512), max_size=3)),
)
spaces = st.one_of(
    st.none(),
    st.builds(lambda n: {"kind": "discrete", "n": n}, st.integers(1, 9)),
    st.builds(lambda shape: {"kind": "box", "shape": shape, "dtype": "float32"}, st.lists(st.integers(1, 9))),
)
signatures = st.builds(
    Signature,
    algorithm=st.sampled_from([None, "PPO", "SAC"]),
    policy=st.sampled_from([None, "ActorCriticPolicy"]),
    observation_space=spaces,
    action_space=spaces,
    parameters=st.dictionaries(names, specs, max_size=8),
    net_arch=layers,
)


@given(signatures)
def test_nothing_differs_from_itself(signature: Signature) -> None:
    assert compare(signature, signature) == ()
    assert compare(Signature.from_json(signature.to_json()), signature) == ()


@given(signatures, names, specs)
def test_a_single_change_of_a_parameter_is_named(signature: Signature, name: str, spec: TensorSpec) -> None:
    changed = Signature(parameters={**signature.parameters, name: spec})
    plain = Signature(parameters=signature.parameters)
    old = signature.parameters.get(name)
    for findings in (compare(plain, changed), compare(changed, plain)):
        assert {finding.subject for finding in findings} == (set() if old == spec else {name})
        assert all(finding.severity is Severity.BLOCKER for finding in findings)
        if old is not None:
            assert len(findings) == (old.shape != spec.shape) + (old.dtype != spec.dtype)


@given(signatures, signatures)
def test_both_directions_see_the_same_subjects_and_every_line_is_printable(one: Signature, other: Signature) -> None:
    there, back = compare(one, other), compare(other, one)
    assert {finding.subject for finding in there} == {finding.subject for finding in back}
    lines = describe_incompatibility(there)
    assert bool(lines) == bool(there)
    assert all(line.isprintable() for line in lines)
