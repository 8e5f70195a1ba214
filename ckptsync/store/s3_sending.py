"""How botocore sends objects whose sha256 is known: read once, in one piece, without asking before.

Left to itself it reads each body once more to sign it, asks whether the body may come, which is a round trip for each
object, and sends it in pieces of 16 KB. Imported with botocore, never before.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore import auth, loaders, utils

_NAME = "ckptsync-s3v4"
_KNOWN = "CkptsyncKnownSha256"


def prepare(client: Any) -> None:
    """Let a client's `put_object` take what `known` returns, and send bodies as they are."""
    auth.AUTH_TYPE_MAPS[_NAME] = _KnownBody
    events = client.meta.events
    events.register("before-parameter-build.s3.PutObject", _remember)
    events.register_last("before-call.s3.PutObject", _in_one_piece)
    events.register_first("choose-signer.s3.PutObject", _choose)


def read_times_quickly(session: Any) -> None:
    """Let a session read the times of a list in a twentieth of what botocore takes, which is most of what a list takes."""
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)


def load_quickly(session: Any) -> None:
    """Let a session load a service's description without listing those of four hundred others first."""
    paths = session.get_component("data_loader").search_paths
    session.register_component("data_loader", _Loader(paths, include_default_search_paths=False))


class _Loader(loaders.Loader):  # type: ignore[misc]
    """Takes it that there is the service that is asked for; if there is none, loading it tells."""

    _asked = ""

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        self._asked = service_name
        return super().load_service_model(service_name, type_name, api_version)

    def list_available_services(self, type_name: str) -> list[str]:
        return [self._asked]


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return utils.parse_timestamp(value)  # type: ignore[no-any-return]
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def known(data: bytes, sha256: bytes) -> dict[str, str]:
    """Return parameters of `put_object` for bytes whose sha256 was found here.

    It becomes a part of the signature, which servers compare with what comes, though not all of them; the crc, which
    they all do, tells damage on the way.
    """
    return {_KNOWN: sha256.hex(), "ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4)).decode("ascii")}


def _remember(params: dict[str, Any], context: dict[str, Any], **_others: Any) -> None:
    if (digest := params.pop(_KNOWN, None)) is not None:
        context[_KNOWN] = digest


def _in_one_piece(params: dict[str, Any], **_others: Any) -> None:
    if hasattr(params["body"], "getvalue"):
        params["body"] = params["body"].getvalue()
    params["headers"].pop("Expect", None)


def _choose(signature_version: str, context: Mapping[str, Any], **_others: Any) -> str | None:
    # What AWS signs in ways of its own (S3 Express, several regions at once) is signed so
    is_usual = signature_version == "s3v4" and context.get("auth_type") in (None, "v4", "s3v4")
    return _NAME if is_usual and _KNOWN in context else None


class _KnownBody(auth.S3SigV4Auth):  # type: ignore[misc]
    """Signature version 4 with a sha256 of the body that need not be found again."""

    def payload(self, request: Any) -> str:
        return str(request.context[_KNOWN])
