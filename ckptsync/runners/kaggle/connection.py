"""The connection to the service: through the official SDK's way of sending, signed in, with bounds.

Answers come back as plain JSON. The SDK itself takes a missing status for QUEUED, fails with a bare KeyError at a
word that it does not know, and reads an answer of any size.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kaggle_http_client import KaggleHttpClient
from kagglesdk.security.services.oauth_service import OAuthClient
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from kagglesdk.users.services.account_service import AccountClient
from kagglesdk.users.types.account_service import ApiVersion, GenerateAccessTokenRequest

from ... import __version__
from ...core.errors import CkptsyncError, CredentialsError, ServiceError
from ...core.patience import Patience
from . import credentials as found_credentials
from .credentials import Credentials
from .endpoint import api_base
from .errors import ABSENT, ForbiddenError
from .web import Web

T = TypeVar("T")


class _Transport(KaggleHttpClient):  # type: ignore[misc]
    """The SDK's way to send, with ours: bounds, our own errors, plain JSON for an answer."""

    def __init__(self, send: Callable[[str, str, bytes], dict[str, Any]]) -> None:
        super().__init__(env=KaggleEnv.PROD)
        self._send = send

    def call(self, service_name: str, request_name: str, request: Any, response_type: Any) -> dict[str, Any]:
        return self._send(service_name, request_name, json.dumps(request.to_dict(request)).encode())


class Connection:
    """Sends what is asked, signed in.

    Args:
        environ: where the endpoint and credentials are named.
        home: the user's home folder.
        timeout: how long one answer may take, in seconds.
        patience: how long reads are tried again.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
    ) -> None:
        self._environ = environ
        self._home = home or Path.home()
        self.base = api_base(environ)
        self._credentials: Credentials | None = None
        self._seen: list[Credentials] = []  # their secrets must not stand in any message
        self._lock = threading.RLock()
        self.web = Web(timeout, self._redact)
        self.patience = patience or Patience()
        self.transport = _Transport(self._send)
        anonymous = _Transport(self._send_anonymously)
        self._oauth = OAuthClient(anonymous)
        self._accounts = AccountClient(anonymous)

    # --- who we are

    @property
    def credentials(self) -> Credentials:
        """Ours, with the name of their user.

        Raises:
            CredentialsError: there are none, or the service knows none of them.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = self._choose()
            return self._credentials

    @property
    def username(self) -> str:
        """The user that the credentials are for."""
        return self.credentials.username or ""

    def _choose(self) -> Credentials:
        refused = None
        for found in found_credentials.find_all(self._environ, self._home):
            self._seen.append(found)
            chosen = found if found.token is not None or found.key is not None else self._renewed(found)
            if chosen.username:
                return chosen
            username = self._introspect(chosen)
            if username:
                return replace(chosen, username=username)
            refused = found
        if refused is None:
            raise found_credentials.no_credentials()
        raise CredentialsError(
            f"Kaggle does not know the token in {refused.source}, or it has expired",
            hint="create a new one at kaggle.com/settings, then run 'ckptsync doctor'",
        )

    def _introspect(self, credentials: Credentials) -> str | None:
        request = IntrospectTokenRequest()
        request.token = credentials.token
        try:
            answer = self.patience.call(lambda: self._oauth.introspect_token(request))
        except (*ABSENT, ServiceError) as error:
            if error.transient:
                raise
            return None
        return str(answer.get("username") or "") if answer.get("active") is True else None

    def _renewed(self, credentials: Credentials) -> Credentials:
        request = GenerateAccessTokenRequest()
        request.refresh_token = credentials.refresh_token
        request.api_version = ApiVersion.API_VERSION_V1
        try:
            answer = self.patience.call(lambda: self._accounts.generate_access_token(request))
        except CkptsyncError as error:
            if error.transient:
                raise
            raise CredentialsError(
                f"the login in {credentials.source} is over: {error.message}", hint="kaggle auth login"
            ) from None
        if not isinstance(answer.get("token"), str) or not answer["token"]:
            raise ServiceError("Kaggle gave no token for the login that was stored")
        renewed = replace(credentials, token=answer["token"], username=answer.get("userName") or credentials.username)
        self._seen.append(renewed)
        return renewed

    def authorization(self, *, renew: bool = False) -> str:
        """Return the value of the header of this name; with `renew`, one of a new token of the login."""
        with self._lock:
            if renew:
                self._credentials = self._renewed(self.credentials)
            value = self.credentials.authorization
        if value is None:
            raise found_credentials.no_credentials()
        return value

    def _redact(self, text: str) -> str:
        for known in self._seen:
            text = known.redact(text)
        return text

    def _send(self, service: str, method: str, body: bytes) -> dict[str, Any]:
        try:
            return self._post(service, method, body, self.authorization())
        except CredentialsError as error:
            # A login ends after hours, in the middle of a wait, and that is refused as if we were not allowed to (403)
            ours = self.credentials
            if ours.refresh_token is None or (isinstance(error, ForbiddenError) and self._introspect(ours)):
                raise
        return self._post(service, method, body, self.authorization(renew=True))

    def _send_anonymously(self, service: str, method: str, body: bytes) -> dict[str, Any]:
        return self._post(service, method, body, None)

    def _post(self, service: str, method: str, body: bytes, authorization: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **headers_for(authorization)}
        return self.web.json("POST", f"{self.base}/v1/{service}/{method}", what=method, headers=headers, data=body)

    def read(self, ask: Callable[[], T]) -> T:
        """Return what a call gives that only reads; it is made again while the service fails."""
        _ = self.credentials  # has a patience of its own; one within the other would be both, multiplied
        return self.patience.call(ask)


def headers_for(authorization: str | None) -> dict[str, str]:
    """Return the headers that say who asks."""
    agent = {"User-Agent": f"ckptsync/{__version__}"}
    return {**agent, "Authorization": authorization} if authorization is not None else agent
