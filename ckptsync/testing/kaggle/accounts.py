"""The service's users and how they sign in: key, access token, refresh token."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import dataclass

from .world import ApiError, Json, World


@dataclass
class Account:
    """One user.

    Args:
        name: the user name.
        key: of kaggle.json.
        token: an access token that holds until it is revoked.
        refresh_token: what an OAuth sign-in keeps.
        verified: whether the phone is; without it there is neither GPU, TPU nor internet.
    """

    name: str
    key: str
    token: str
    refresh_token: str
    number: int
    verified: bool = True


class Accounts:
    """All users, and whose secret is whose."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accounts: dict[str, Account] = {}
        self._revoked: set[str] = set()
        self._short_lived: dict[str, tuple[Account, float]] = {}

    def add(self, name: str, *, verified: bool = True) -> Account:
        """Add a user with new secrets."""
        account = Account(
            name=name,
            key=secrets.token_hex(16),
            token=f"KGAT_{secrets.token_hex(16)}",
            refresh_token=f"KGRT_{secrets.token_hex(16)}",
            number=self._world.number(),
            verified=verified,
        )
        with self._world.lock:
            self._accounts[name] = account
        return account

    def revoke(self, secret: str) -> None:
        """Let a key or token hold no longer."""
        with self._world.lock:
            self._revoked.add(secret)

    def signed_in(self, authorization: str) -> Account | None:
        """Return whose request it is; None: nobody's, for it has no Authorization header.

        Raises:
            ApiError: the secret is wrong, revoked or expired.
        """
        if not authorization:
            return None
        scheme, _, value = authorization.partition(" ")
        with self._world.lock:
            if scheme == "Bearer":
                account = self._of_token(value)
            elif scheme == "Basic":
                account = self._of_key(value)
            else:
                account = None
        if account is None:
            raise ApiError(401, "Unauthenticated")
        return account

    def _of_key(self, encoded: str) -> Account | None:
        try:
            name, _, key = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        account = self._accounts.get(name)
        return account if account and account.key == key and key not in self._revoked else None

    def _of_token(self, token: str) -> Account | None:
        if token in self._revoked:
            return None
        if token in self._short_lived:
            account, expires = self._short_lived[token]
            if time.monotonic() < expires:
                return account
            raise ApiError(self._world.settings.expired_token_status, "Permission 'kernels.get' was denied")
        return next((account for account in self._accounts.values() if account.token == token), None)

    def introspect(self, request: Json) -> Json:
        """Answer IntrospectToken: whose token it is."""
        with self._world.lock:
            try:
                account = self._of_token(str(request.get("token") or ""))
            except ApiError:
                account = None
        if account is None:
            return {"active": False}
        return {"active": True, "username": account.name, "userId": account.number, "scope": "resources.admin:*"}

    def generate(self, request: Json) -> Json:
        """Answer GenerateAccessToken: a new access token for a refresh token."""
        refresh = str(request.get("refreshToken") or "")
        with self._world.lock:
            account = next((one for one in self._accounts.values() if one.refresh_token == refresh), None)
            if account is None or refresh in self._revoked:
                raise ApiError(401, "Invalid refresh token")
            token = f"KGAT_{secrets.token_hex(16)}"
            seconds = self._world.settings.token_seconds
            self._short_lived[token] = (account, time.monotonic() + seconds)
        return {"token": token, "expiresIn": int(seconds), "userName": account.name, "userId": account.number}
