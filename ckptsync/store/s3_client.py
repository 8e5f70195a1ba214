"""Making a client of botocore, which is loaded on use: a command that moves one small checkpoint mostly waits for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import ConfigError

_MAX_CONNECTIONS = 16
_CONNECT_SECONDS = 10
_OPTIONS = frozenset({"endpoint", "region", "profile"})


def connect(url: str, options: Mapping[str, str], read_seconds: float) -> Any:
    """Return a client; nothing is sent yet.

    Args:
        url: of the store, for messages.
        options: `endpoint`, `region`, `profile`.
        read_seconds: how long the server may say nothing.

    Raises:
        ConfigError: botocore is not installed, an option is unknown, or a value makes no sense.
        Exception: what else botocore raises, such as for a profile that is not there.
    """
    if unknown := options.keys() - _OPTIONS:
        raise ConfigError(
            f"{url}: unknown option {sorted(unknown)[0]!r}", hint=f"known are {', '.join(sorted(_OPTIONS))}"
        )
    try:
        import botocore.session
        from botocore.config import Config

        from . import s3_sending
    except ImportError:
        raise ConfigError(f"{url} needs the package botocore", hint="pip install 'ckptsync[s3]'") from None
    endpoint = options.get("endpoint")
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        max_pool_connections=_MAX_CONNECTIONS,
        tcp_keepalive=True,
        signature_version="s3v4",  # what is granted would be signed in the old way, which not all servers know
        # The checksum that is sent is the sha256 that the caller knows; another one would be computed for nothing
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Its checksum is among what is signed, so a body needs no signature of its own, which is another hash
        s3={"payload_signing_enabled": False, "addressing_style": "path" if endpoint else "auto"},
    )
    try:
        session = botocore.session.Session(profile=options.get("profile"))
        s3_sending.read_times_quickly(session)
        s3_sending.load_quickly(session)
        client = session.create_client("s3", region_name=options.get("region"), endpoint_url=endpoint, config=config)
    except ValueError as error:
        raise ConfigError(f"{url}: the endpoint is not valid: {error}") from None
    s3_sending.prepare(client)
    return client
