"""A reader for bytes that a test has just made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckptsync.core.readers import ModelReport, read_model


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ModelReport]:
    """Write bytes to `model.zip` and read them with `read_model`'s options."""

    def write_and_read(data: bytes, **options: object) -> ModelReport:
        path = tmp_path / "model.zip"
        path.write_bytes(data)
        return read_model(path, **options)  # type: ignore[arg-type]

    return write_and_read
