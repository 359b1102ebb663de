"""`OAuthBroker`: the one owner of the tokens of MCP servers in this process.

Other processes of the same home have brokers of their own; the files and their lock make them one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.mcp.errors import McpError
from hermes_agent.mcp.oauth.errors import OAuthNonInteractiveError
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles
from hermes_agent.mcp.oauth.provider import AuthState, OAuthProvider


@dataclass(frozen=True, slots=True)
class AuthStatus:
    """How signing in to a server stands.

    Attributes:
        detail: For people; no secrets.
        expires_at: Unix time of the token's end; None if it has none, or there is no token.
    """

    server: str
    state: AuthState
    detail: str = ""
    scope: str = ""
    expires_at: float | None = None
    has_refresh_token: bool = False


class OAuthBroker:
    """Providers by server, and what people do with them.

    Args:
        directory: `Home.mcp_tokens`.
        on_secret: Told every token that is read or received.
    """

    def __init__(self, directory: Path, on_secret: Callable[[str], None] = lambda _value: None) -> None:
        self._directory = directory
        self._on_secret = on_secret
        self._providers: dict[str, OAuthProvider] = {}
        self._attempts: dict[str, Any] = {}

    def make_auth(self, server: str, settings: McpServerSettings) -> OAuthProvider | None:
        """For `McpPorts.make_auth`: the provider of a server that signs in; None for others."""
        if not settings.url or settings.auth != "oauth":
            return None
        return self.get_or_build_provider(server, settings)

    def get_or_build_provider(self, server: str, settings: McpServerSettings) -> OAuthProvider:
        """The provider of a server, always the same one; it takes over changed settings."""
        provider = self._providers.get(server)
        if provider is None:
            files = TokenFiles(self._directory, server)
            provider = self._providers[server] = OAuthProvider(server, settings, files, self._on_secret)
        elif provider.settings != settings:
            provider.settings = settings
            provider.forget()
        return provider

    def invalidate_if_disk_changed(self, server: str) -> bool:
        """Whether the token file changed since it was read; it is read again. False for unknown servers."""
        provider = self._providers.get(server)
        return provider is not None and provider.invalidate_if_disk_changed()

    async def handle_401(self, server: str, failed_token: str | None) -> bool:
        """A token was refused: whether there is another now. False for unknown servers."""
        provider = self._providers.get(server)
        if provider is None:
            return False
        try:
            await provider.recover(failed_token)
        except McpError:
            return False
        return True

    def status(self, server: str, settings: McpServerSettings) -> AuthStatus:
        """How it stands, from the files and what is known; no network."""
        provider = self.get_or_build_provider(server, settings)
        state, detail = provider.state()
        token = TokenFiles(self._directory, server).load_token()
        if token is None:
            return AuthStatus(server, state, detail)
        return AuthStatus(
            server, state, detail, token.scope or "", token.expires_at, token.refresh_token is not None
        )

    async def remove(self, server: str) -> bool:
        """Delete what is stored of a server, here and in memory; whether there was anything.

        Only ever because somebody said so.
        """
        await self.cancel_login(server)
        files = TokenFiles(self._directory, server)
        if not self._directory.is_dir():
            return False
        async with files.lock():
            was_there = files.remove()
        provider = self._providers.get(server)
        if provider is not None:
            provider.forget()
        return was_there

    async def logout(self, server: str, settings: McpServerSettings) -> tuple[bool, str]:
        """Have the authorization server forget the grant, if it can, then delete what is stored.

        Returns:
            Whether there was anything, and why the grant could not be revoked (empty if it was, or
            cannot be).
        """
        provider = self.get_or_build_provider(server, settings)
        problem: str = await load("hermes_agent.mcp.oauth.revocation:revoke")(
            server, settings, provider.files
        )
        return await self.remove(server), problem

    # -- signing in

    async def begin_login(self, server: str, settings: McpServerSettings) -> str:
        """Begin to sign in; returns the address to open (a chat, the dashboard).

        The browser may come back by itself; otherwise hand its address to `finish_login`. An older attempt
        for the same server is given up.

        Raises:
            McpError: It cannot work, or not now.
        """
        await self.cancel_login(server)
        check_can_login(server, settings)
        provider = self.get_or_build_provider(server, settings)
        start = await asyncio.to_thread(load, "hermes_agent.mcp.oauth.login:start_login")
        attempt = await start(server, settings, provider.files, provider.challenge)
        expiry = asyncio.create_task(self._expire(server, attempt))
        self._attempts[server] = (attempt, expiry)
        return str(attempt.url)

    async def finish_login(self, server: str, pasted: str = "") -> StoredToken:
        """Finish what `begin_login` began, by the pasted address or by waiting for the browser.

        Raises:
            UsageError: Nothing was begun.
            McpError: See `LoginAttempt`.
        """
        if server not in self._attempts:
            raise UsageError(
                f"Nobody is signing in to {server!r} now", remedy=f"Begin with: hermes mcp login {server}"
            )
        attempt, _expiry = self._attempts[server]
        token: StoredToken = await (attempt.paste(pasted) if pasted else attempt.wait())
        await self.cancel_login(server)
        self._signed_in(server)
        return token

    async def cancel_login(self, server: str) -> None:
        """Give up an attempt, if there is one."""
        attempt, expiry = self._attempts.pop(server, (None, None))
        if expiry is not None and expiry is not asyncio.current_task():
            expiry.cancel()
        if attempt is not None:
            await attempt.aclose()

    async def login(
        self,
        server: str,
        settings: McpServerSettings,
        *,
        show: Callable[[str, str], None] | None,
        read_pasted: Callable[[], Any] | None = None,
    ) -> StoredToken:
        """Sign in from beginning to end; what was stored before is replaced only by success.

        Args:
            server: Its name.
            settings: Its settings.
            show: Given the address to open and the one the browser ends up at; None if nobody is there.
            read_pasted: Awaitable of the next pasted line; None if nothing can be pasted.

        Raises:
            OAuthNonInteractiveError: Nobody is there, or nobody signed in in time.
            McpError: Any other reason.
        """
        check_can_login(server, settings)
        if settings.oauth.grant_type == "client_credentials":
            provider = self.get_or_build_provider(server, settings)
            held = await provider.token()
            await provider.recover(held)
            token = provider.files.load_token()
            assert token is not None
            return token
        if show is None:
            raise OAuthNonInteractiveError(server, "Signing in needs a person, and there is no terminal")
        url = await self.begin_login(server, settings)
        try:
            attempt, _expiry = self._attempts[server]
            show(url, attempt.redirect_uri)
            return await self._until_signed_in(server, attempt, show, read_pasted)
        finally:
            await self.cancel_login(server)

    async def _until_signed_in(
        self,
        server: str,
        attempt: Any,
        show: Callable[[str, str], None],
        read_pasted: Callable[[], Any] | None,
    ) -> StoredToken:
        waiting = asyncio.ensure_future(attempt.wait())
        pasting: asyncio.Future[str] | None = None
        try:
            while True:
                if read_pasted is not None and pasting is None:
                    pasting = asyncio.ensure_future(read_pasted())
                both = [each for each in (waiting, pasting) if each is not None]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    token: StoredToken = waiting.result()
                    self._signed_in(server)
                    return token
                assert pasting is not None
                text, pasting = pasting.result(), None
                if not text:
                    read_pasted = None  # The end of the input: only the browser can come back now.
                    continue
                try:
                    await attempt.paste(text)
                except McpError as error:
                    if attempt.is_done:
                        raise
                    show("", "; ".join(line for line in (error.why, error.remedy) if line))
        finally:
            for each in (waiting, pasting):
                if each is not None:
                    each.cancel()

    def _signed_in(self, server: str) -> None:
        provider = self._providers.get(server)
        if provider is not None:
            provider.forget()
            provider.invalidate_if_disk_changed()

    async def _expire(self, server: str, attempt: Any) -> None:
        """Give up an attempt that nobody finishes; take note of one that the browser finished."""
        try:
            await attempt.wait()
        except McpError:
            pass
        else:
            self._signed_in(server)
        if self._attempts.get(server, (None, None))[0] is attempt:
            # Whoever waits for the result has a moment to fetch it.
            await asyncio.sleep(60)
            await self.cancel_login(server)

    async def aclose(self) -> None:
        """Give up attempts, and wait for renewals that are going on."""
        for server in tuple(self._attempts):
            await self.cancel_login(server)
        for provider in self._providers.values():
            await provider.aclose()

    def statuses(self, servers: Mapping[str, McpServerSettings]) -> list[AuthStatus]:
        """`status` of every server that signs in."""
        return [
            self.status(name, settings)
            for name, settings in servers.items()
            if settings.url and settings.auth == "oauth"
        ]


def check_can_login(server: str, settings: McpServerSettings) -> None:
    """Whether there is anything to sign in to. Raises `UsageError`."""
    if not settings.url:
        raise UsageError(
            f"MCP server {server!r} is a program; there is nothing to sign in to",
            remedy="Its keys belong into its env setting.",
        )
