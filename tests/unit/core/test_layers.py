"""Which layers two model files share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptsync.core.readers.layers import layer_digests
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip


def test_only_the_layers_that_changed_differ(tmp_path: Path) -> None:
    same, other = mlp_parameters(hidden=(8, 8), seed=1), mlp_parameters(hidden=(8, 8), seed=2)
    changed = next(iter(same))
    write_sb3_zip(tmp_path / "a.zip", same, num_timesteps=1, hidden=(8, 8))
    write_sb3_zip(tmp_path / "b.zip", {**same, changed: other[changed]}, num_timesteps=2, hidden=(8, 8))
    left, right = layer_digests(tmp_path / "a.zip"), layer_digests(tmp_path / "b.zip")
    assert list(left) == list(right) == list(same)
    assert [name for name in left if left[name] != right[name]] == [changed]


@pytest.mark.parametrize("number", range(8))
def test_a_bit_of_a_safetensors_file_is_one_layer(tmp_path: Path, number: int) -> None:
    layers = {
        f"l{place}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * place, 4 * place + 4]} for place in (0, 1)
    }
    header = json.dumps(layers).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(8)
    (tmp_path / "a.safetensors").write_bytes(data)
    changed = bytearray(data)
    changed[len(data) - 8 + number] = 1
    (tmp_path / "b.safetensors").write_bytes(changed)
    left, right = layer_digests(tmp_path / "a.safetensors"), layer_digests(tmp_path / "b.safetensors")
    assert [name for name in left if left[name] != right[name]] == [f"l{number // 4}"]
