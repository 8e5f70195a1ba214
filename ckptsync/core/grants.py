"""Grants: what lets a session without credentials write to a store.

What a grant allows is little: to write below the prefix of one session, for a time. It is a secret all the same, so it
travels in a file of its own and is in no message.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from . import jsonio, names
from .errors import CkptsyncError, ConfigError

GRANT_NAME = "ckptsync-live.json"
GRANT_SCHEMA = "ckptsync.upload-grant/1"
MAX_GRANT_BYTES = 64 << 10
# A set is there when its seal is: the manifest behind the mark of the one key that the session was given
SEALED_SUFFIX = ".sealed"
_MARK_BYTES = 64


@dataclass(frozen=True)
class Target:
    """Where objects may be written to.

    Args:
        url: `https://...`, to which forms are posted, or `file://...`, a folder.
        fields: of the form, the policy and its signature among them; `key` is what all keys begin with.
    """

    url: str
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class UploadGrant:
    """What lets one session write below its prefix.

    Args:
        session: the session's id.
        generation: its generation.
        target: where it may write.
        expires_at: until when, in seconds since 1970.
        max_bytes: how large one object may be.
        key: marks what it has sealed, so that nobody else who can write there passes for it.
    """

    session: str
    generation: int
    target: Target
    expires_at: float
    max_bytes: int
    key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    def to_bytes(self) -> bytes:
        """Return the file that travels to the session; it holds secrets."""
        return jsonio.canonical({"schema": GRANT_SCHEMA, **asdict(self)})

    @classmethod
    def parse(cls, data: bytes) -> UploadGrant:
        """Read what `to_bytes` gave.

        Raises:
            ConfigError: it is anything else.
        """
        try:
            value: dict[str, Any] = dict(jsonio.parse(data))
            if value.pop("schema") != GRANT_SCHEMA:
                raise ValueError
            target = value.pop("target")
            fields = {str(name): str(text) for name, text in target["fields"].items()}
            grant = cls(**value, target=Target(str(target["url"]), fields))
            names.parse_session_id(grant.session)
            bytes.fromhex(grant.key)
            float(grant.expires_at), int(grant.max_bytes)
            return grant
        except (KeyError, TypeError, ValueError, AttributeError, CkptsyncError):
            raise ConfigError(f"{GRANT_NAME} is damaged") from None  # what is wrong with it might show a secret

    def seal(self, manifest: bytes) -> bytes:
        """Put this session's mark before the bytes of a manifest."""
        return self._mark(manifest) + manifest

    def opened(self, sealed: bytes) -> bytes | None:
        """Return the manifest behind the mark; None when somebody else has made it."""
        mark, manifest = sealed[:_MARK_BYTES], sealed[_MARK_BYTES:]
        return manifest if hmac.compare_digest(mark, self._mark(manifest)) else None

    def _mark(self, manifest: bytes) -> bytes:
        message = f"{self.session}\n{self.generation}\n".encode() + manifest
        return hmac.new(bytes.fromhex(self.key), message, hashlib.sha256).hexdigest().encode()
