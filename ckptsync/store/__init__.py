"""Where bytes are kept outside the machine: a folder, S3 and compatibles, every fsspec URL; and the repository above.

`open_store(url)` gives a store, `ckptsync.store.repository` keeps checkpoints in one.
"""

from __future__ import annotations

from .base import Capabilities, ObjectInfo, PreconditionError, Store, Stored
from .opening import open_store

__all__ = ["Capabilities", "ObjectInfo", "PreconditionError", "Store", "Stored", "open_store"]
