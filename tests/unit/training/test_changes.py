"""The table of what may change between sessions."""

from __future__ import annotations

import re
from pathlib import Path

from ckptsync.core.findings import CODES, Verdict
from ckptsync.training.changes import CHANGES, WITHOUT_EFFECT, Effect, changed

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "change-settings.md"


def test_what_is_refused_has_a_finding_that_means_incompatible() -> None:
    for change in CHANGES:
        assert (change.code is not None) == (change.effect is Effect.REFUSED), change
        if change.code is not None:
            assert CODES[change.code][0] is Verdict.INCOMPATIBLE


def test_the_page_shows_the_table() -> None:
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    expected = [(c.setting, f"{c.effect} (`{c.code}`)" if c.code else str(c.effect), c.words) for c in CHANGES]
    assert rows == expected


def test_changes_are_named_with_both_values() -> None:
    assert changed({"gamma": 0.9, "batch_size": 64}, {"gamma": 0.99, "batch_size": 64}) == ["gamma was 0.9, is 0.99"]


def test_what_begins_anew_is_told() -> None:
    [told] = changed({"n_envs": 2}, {"n_envs": 4})
    assert told.startswith("n_envs was 2, is 4: the environments begin new episodes")


def test_settings_inside_others_are_found_by_their_last_name() -> None:
    before = {"policy.optimizer.optimizer_class": "Adam"}
    [told] = changed(before, {"policy.optimizer.optimizer_class": "SGD"})
    assert told.endswith("the optimizer begins without moments")


def test_what_comes_or_goes_is_not_set() -> None:
    assert changed({}, {"target_kl": 0.1}) == ["target_kl was not set, is 0.1"]
    assert changed({"target_kl": 0.1}, {"target_kl": None}) == ["target_kl was 0.1, is not set"]


def test_what_has_no_effect_is_not_told() -> None:
    for name in WITHOUT_EFFECT:
        assert changed({name: 1}, {name: 2}) == []
