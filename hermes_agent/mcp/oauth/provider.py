"""`OAuthProvider`: the credential of one server, kept over reconnects.

It knows three things that the files do not tell: which tokens the server refused, which refresh tokens are
dead, and since when the authorization server fails. Renewing is single-flight: one task, which goes on
even if everybody who waited for it has been cancelled, because a used refresh token must not be lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeAlias

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load
from hermes_agent.mcp.errors import McpAuthError
from hermes_agent.mcp.oauth.challenge import NO_CHALLENGE, Challenge, joined_scopes
from hermes_agent.mcp.oauth.errors import (
    OAuthNonInteractiveError,
    OAuthTokenError,
    OAuthUnauthorizedError,
    OAuthUnavailableError,
)
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles

AuthState: TypeAlias = Literal["authorized", "needs_reauth", "unavailable"]

FRESH_SECONDS = 60.0
"""A token refused this soon after it was issued is not renewed again: the server refuses us, not it."""

MAX_PAUSE_SECONDS = 60.0

_log = logging.getLogger(__name__)


class OAuthProvider:
    """See `mcp.ports.ServerAuth`.

    Args:
        settings: Of the server; the owner replaces them when they change.
        files: Where its credential is stored.
        on_secret: Told every token, so that it is redacted wherever it appears.
    """

    def __init__(
        self,
        server: str,
        settings: McpServerSettings,
        files: TokenFiles,
        on_secret: Callable[[str], None] = lambda _value: None,
    ) -> None:
        self.server = server
        self.settings = settings
        self.files = files
        self._on_secret = on_secret
        self._token: StoredToken | None = None
        self._stamp = -1
        self._is_unsaved = False
        self._challenge = NO_CHALLENGE
        self._refused: deque[str] = deque(maxlen=50)
        self._dead: deque[str] = deque(maxlen=20)
        self._fresh = ("", 0.0)
        self._task: asyncio.Task[StoredToken] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._problem: McpAuthError | OAuthUnavailableError | None = None

    # -- mcp.ports.ServerAuth

    def http_auth(self) -> object | None:
        """An `httpx2.Auth` for the next connection."""
        return load("hermes_agent.mcp.oauth.bearer:BearerAuth")(self)  # type: ignore[no-any-return]

    async def auth_failed(self, status: int, challenge: str) -> bool:
        """The server refused us; True if there is a better credential now.

        Raises:
            McpAuthError: A person must sign in.
            OAuthUnavailableError: The authorization server fails for now.
        """
        self.note_challenge(challenge)
        if status == 401:
            await self.recover(self._refused[-1] if self._refused else None)
            return True
        if status == 403 and self._challenge.error == "insufficient_scope":
            return await self._step_up(self._challenge.scope)
        return False

    # -- for `bearer` and the broker

    async def token(self) -> str | None:
        """The best token there is, renewed if it is about to expire; None if there is none."""
        self.invalidate_if_disk_changed()
        held = self._token
        is_alone = self.settings.oauth.grant_type == "client_credentials"
        if held is not None and not held.is_expired(early_seconds=held.early_seconds):
            return held.access_token
        if is_alone or (held is not None and held.refresh_token and held.refresh_token not in self._dead):
            try:
                return (await self._renew()).access_token
            except HermesError as error:
                _log.info("mcp server %s: its token cannot be renewed: %s", self.server, error)
        return held.access_token if held is not None else None

    async def recover(self, failed: str | None) -> str:
        """Another token than the failed one.

        Raises:
            McpAuthError: A person must sign in.
            OAuthUnavailableError: The authorization server fails for now.
        """
        if failed is not None and failed not in self._refused:
            self._refused.append(failed)
        self.invalidate_if_disk_changed()
        if self._token is not None and self._is_usable(self._token):
            return self._token.access_token
        fresh, since = self._fresh
        if failed is not None and failed == fresh and time.monotonic() - since < FRESH_SECONDS:
            error = OAuthUnauthorizedError(
                self.server, "It refuses even a token that was issued just now (HTTP 401)"
            )
            self._problem = error
            raise error
        token = await self._renew()
        self._fresh = (token.access_token, time.monotonic())
        return token.access_token

    def worked(self, token: str | None) -> None:
        """The server took this token."""
        self._problem = None
        if token is not None and token == self._fresh[0]:
            self._fresh = ("", 0.0)

    def note_challenge(self, header: str) -> None:
        """Keep what the server said when it refused us."""
        if header:
            self._challenge = Challenge.parse(header)

    @property
    def challenge(self) -> Challenge:
        """What the server said last when it refused us."""
        return self._challenge

    def invalidate_if_disk_changed(self) -> bool:
        """Read the token file again if it is not as it was; whether it was not."""
        stamp = self.files.stamp()
        if stamp == self._stamp:
            return False
        was_known = self._stamp != -1
        self._stamp = stamp
        if not stamp:
            # It went away: signed out, here or elsewhere. A token that could not be written stays.
            if not self._is_unsaved:
                self._token = None
            return was_known
        self._adopt(self.files.load_token())
        self._is_unsaved = False
        return was_known

    def state(self) -> tuple[AuthState, str]:
        """How it stands, and why; from the files, without the network."""
        self.invalidate_if_disk_changed()
        if self._problem is not None:
            is_temporary = isinstance(self._problem, OAuthUnavailableError)
            return (
                "unavailable" if is_temporary else "needs_reauth",
                self._problem.why or self._problem.message,
            )
        token = self._token
        if token is None:
            if self.settings.oauth.grant_type == "client_credentials":
                return "authorized", "signs in by itself"
            return "needs_reauth", "nobody has signed in yet"
        if token.is_expired() and not token.refresh_token:
            return "needs_reauth", "the token has expired"
        if token.refresh_token in self._dead:
            return "needs_reauth", "the refresh token is no longer accepted"
        return "authorized", f"scope {token.scope}" if token.scope else ""

    def forget(self) -> None:
        """Forget what is held in memory (the files are gone, or are to be read anew)."""
        self._token, self._stamp, self._is_unsaved = None, -1, False
        self._refused.clear()
        self._dead.clear()
        self._fresh = ("", 0.0)
        self._not_before, self._failures, self._problem = 0.0, 0, None

    async def aclose(self) -> None:
        """Wait for a renewal that is going on: what it gets must reach the disk."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # -- inside

    def _is_usable(self, token: StoredToken) -> bool:
        return (
            token.access_token not in self._refused
            and not token.is_expired(early_seconds=token.early_seconds)
            and token.is_for(self.settings.url)
        )

    def _adopt(self, token: StoredToken | None) -> None:
        if token is not None:
            self._on_secret(token.access_token)
            if token.refresh_token:
                self._on_secret(token.refresh_token)
            if not token.is_for(self.settings.url):
                _log.warning(
                    "mcp server %s: the stored token is for %s and is not sent elsewhere",
                    self.server,
                    token.server_url,
                )
                token = None
        if token != self._token:
            self._problem = None
            self._not_before, self._failures = 0.0, 0
        self._token = token

    async def _step_up(self, needed: str) -> bool:
        """The token's scopes do not suffice."""
        token = self._token
        granted = (token.scope or "").split() if token is not None else []
        if self.settings.oauth.grant_type == "client_credentials":
            if all(scope in granted for scope in needed.split()):
                return False
            if token is not None:
                self._refused.append(token.access_token)
            await self._renew(scope=needed)
            return True
        await self._want(needed)
        raise OAuthTokenError(
            self.server,
            f"It needs further rights: {needed or 'it does not say which'}",
            code="insufficient_scope",
        )

    async def _want(self, scope: str) -> None:
        """Have the next sign-in, by whichever process, ask for these scopes too."""
        if not scope:
            return
        async with self.files.lock():
            metadata = self.files.load_metadata() or {}
            own = metadata.get("hermes")
            own = dict(own) if isinstance(own, dict) else {}
            wanted = joined_scopes(str(own.get("wanted_scope") or ""), scope)
            if wanted != own.get("wanted_scope"):
                self.files.save_metadata({**metadata, "hermes": {**own, "wanted_scope": wanted}})

    async def _renew(self, scope: str = "") -> StoredToken:
        if self._task is None:
            self._task = asyncio.create_task(self._renewed(scope), name=f"oauth-{self.server}")
            self._task.add_done_callback(self._done)
        return await asyncio.shield(self._task)

    def _done(self, task: asyncio.Task[StoredToken]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # Somebody may have stopped waiting for it.

    async def _renewed(self, scope: str) -> StoredToken:
        held = self._token
        if held is None and self.settings.oauth.grant_type != "client_credentials":
            # Nothing to renew: not even a lock file is made.
            error = OAuthNonInteractiveError(self.server, "Nobody has signed in yet")
            self._problem = error
            raise error
        if time.monotonic() < self._not_before and isinstance(self._problem, OAuthUnavailableError):
            raise self._problem.with_traceback(None)
        try:
            token, is_saved = await self._ask(held, scope)
        except OAuthUnavailableError as error:
            self._failures += 1
            pause = min(MAX_PAUSE_SECONDS, 2.0 ** min(self._failures - 1, 10))
            self._not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            self._problem = error
            raise
        except McpAuthError as error:
            if isinstance(error, OAuthTokenError) and error.code == "invalid_grant":
                stored = held if self._is_unsaved else self.files.load_token()
                if stored is not None and stored.refresh_token and stored.refresh_token not in self._dead:
                    self._dead.append(stored.refresh_token)
            self._problem = error
            raise
        self._stamp = self.files.stamp() if is_saved else self._stamp
        self._adopt(token)
        self._is_unsaved = not is_saved
        return token

    async def _ask(self, held: StoredToken | None, scope: str) -> tuple[StoredToken, bool]:
        renewal = await asyncio.to_thread(load, "hermes_agent.mcp.oauth.renewal")
        wanted = renewal.Renewal(
            self.server,
            self.settings,
            self.files,
            is_usable=self._is_usable,
            is_dead=self._dead.__contains__,
            held=held if self._is_unsaved else None,
            challenge=self._challenge,
            scope=scope,
        )
        asked: Coroutine[Any, Any, tuple[StoredToken, bool]] = renewal.renew(wanted)
        return await asked
