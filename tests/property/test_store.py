"""Whatever becomes of a row of checkpoints, each comes back from the store to the byte, and nothing is sent twice."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.largesets import safetensors, sb3_like, stored_zip, write_large_set
from support.toysets import payload

from ckptsync.core import sets
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import create_repository, pull_set, pushing, removing, scrub

pytestmark = pytest.mark.slow

FORMS = (sb3_like, safetensors, lambda tensors: stored_zip({f"archive/data/{k}": v for k, v in tensors.items()}))


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[dict[str, bytes]]]:
    """A form, and the tensors of some checkpoints: some change, come, go, or change places."""
    chance = draw(st.randoms(use_true_random=False))
    tensors = {f"{number}": payload("first", number, size=draw(st.integers(100, 400_000))) for number in range(6)}
    history = [tensors]
    for step in range(draw(st.integers(1, 3))):
        after = dict(history[-1])
        for name in list(after):
            match chance.randrange(6):
                case 0:
                    after[name] = payload(step, name, size=len(after[name]))
                case 1:
                    after[name] = payload(step, name, size=chance.randrange(1, 300_000))
                case 2 if len(after) > 2:
                    del after[name]
                case 3:
                    after[f"{name}-{step}"] = after[name]
                case _:
                    pass
        order = list(after)
        if chance.random() < 0.3:
            random.Random(step).shuffle(order)
        history.append({name: after[name] for name in order})
    return draw(st.integers(0, len(FORMS) - 1)), history


@given(histories(), st.data())
def test_every_version_comes_back_to_the_byte(case: tuple[int, list[dict[str, bytes]]], data: st.DataObject) -> None:
    form, history = case
    with tempfile.TemporaryDirectory(prefix="ckptsync-test-") as place:
        root = Path(place)
        repository = create_repository(FolderStore(root / "store"))
        with pushing(repository) as pusher:
            pushed = [
                pusher.push(
                    "run", root / "tree", write_large_set(root / "tree", steps, {"model": FORMS[form](found)}).stem
                )
                for steps, found in enumerate(history)
            ]
        assert all(item.sent_bytes <= item.size_bytes for item in pushed)
        gone = data.draw(st.sets(st.sampled_from(range(len(pushed)))), "removed") - {len(pushed) - 1}
        with removing(repository) as remover:
            remover.remove([pushed[number].version for number in gone])
            remover.sweep()
        for number, item in enumerate(pushed):
            if number not in gone:
                manifest = pull_set(repository, item.version, root / "pulled").manifest
                assert sets.check_files(root / "pulled", manifest) == ()
        assert list(scrub(repository)) == []
