"""`Caller`: calls over one connection. It repeats them, renews credentials, and leaves what hangs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from hermes_agent.mcp.errors import (
    McpAuthError,
    McpConnectionLostError,
    McpRequestError,
    McpTimeoutError,
)
from hermes_agent.mcp.ports import Client, McpPorts, ServerAuth

if TYPE_CHECKING:
    from hermes_agent.mcp.connection import Connection

PING_SECONDS = 10.0
"""A server that a call waited for in vain has so long (or `timeout`) to answer a ping before it is left."""
SETTLING_SECONDS = 2.0
"""Calls that are under way when a credential was renewed get so long for their own answer or refusal."""

_log = logging.getLogger(__name__)
ValueT = TypeVar("ValueT")


class Caller:
    """Makes the calls of one connection.

    Attributes:
        busy: Calls that are going on, those that wait for the connection included.
        last_used: When the last one ended (monotonic).
    """

    def __init__(self, connection: Connection, ports: McpPorts) -> None:
        self.busy = 0
        self.last_used = 0.0
        self._connection = connection
        self._ports = ports
        self._under_way: set[asyncio.Future[None]] = set()
        self._renewing: asyncio.Task[bool] | None = None
        self._pulse_task: asyncio.Task[None] | None = None

    async def use(self, action: Callable[[Client], Awaitable[ValueT]], *, may_repeat: bool) -> ValueT:
        """Do something with the client.

        A lost connection is made again; the action is repeated if the server refused it without looking, if
        it does no harm (`may_repeat`), or after a new credential.

        Raises:
            McpError: It failed.
        """
        self.busy += 1
        try:
            return await self._attempt(action, may_repeat=may_repeat)
        finally:
            self.busy -= 1
            self.last_used = time.monotonic()

    def stop(self) -> None:
        """End what goes on beside the calls."""
        if self._pulse_task is not None:
            self._pulse_task.cancel()

    async def _attempt(self, action: Callable[[Client], Awaitable[ValueT]], *, may_repeat: bool) -> ValueT:
        connection = self._connection
        for attempt in (1, 2):
            client = await connection.client()
            if not client.is_alive():
                connection.reconnect()
                client = await connection.client()
            refusals = client.refusal.count
            try:
                return await self._counted(action, client)
            except McpTimeoutError:
                self._check_pulse(client)
                raise
            except (McpRequestError, McpConnectionLostError) as error:
                status = client.refusal.status if client.refusal.count != refusals else 0
                if status == 401 or (status == 403 and "insufficient_scope" in client.refusal.challenge):
                    if attempt == 1 and not connection.is_current(client) and self._renewing is None:
                        continue  # somebody renewed it while we waited for the answer
                    if attempt == 2 or not await self._auth_failed(status, client.refusal.challenge):
                        raise McpAuthError(connection.name, f"It answered with HTTP {status}") from error
                elif isinstance(error, McpConnectionLostError):
                    # Whatever ended it (a 404 for the session, a crash): a new connection is needed.
                    connection.reconnect()
                    if attempt == 2 or not (may_repeat or status == 404):
                        connection.count_failure()
                        raise
                else:
                    raise
        raise AssertionError("unreachable")

    async def _counted(self, action: Callable[[Client], Awaitable[ValueT]], client: Client) -> ValueT:
        under_way: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(under_way)
        try:
            return await action(client)
        finally:
            self._under_way.discard(under_way)
            under_way.set_result(None)

    # -- a server that is silent

    def _check_pulse(self, client: Client) -> None:
        """A call was silent for too long: a server that does not even answer a ping is started anew."""
        if not self._under_way and self._pulse_task is None and self._connection.is_current(client):
            name = f"mcp-ping-{self._connection.name}"
            self._pulse_task = asyncio.create_task(self._ping(client), name=name)
            self._pulse_task.add_done_callback(self._pulse_checked)

    async def _ping(self, client: Client) -> None:
        connection = self._connection
        try:
            async with asyncio.timeout(min(PING_SECONDS, connection.settings.timeout)):
                await client.ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server does not answer
            if connection.is_current(client):
                _log.warning("mcp server %s does not answer at all; it is left: %r", connection.name, error)
                connection.reconnect()

    def _pulse_checked(self, _task: asyncio.Task[None]) -> None:
        self._pulse_task = None

    # -- a server that refuses us

    async def _auth_failed(self, status: int, challenge: str) -> bool:
        """The server refused our credential. However many calls say so at once, it is renewed once.

        Returns:
            True if there is a new one; then the connection is made again.
        """
        connection = self._connection
        if connection.auth is None:
            fresh = await asyncio.to_thread(self._ports.refresh, connection.name, connection.settings)
            if fresh == connection.settings:
                connection.needs_login(f"It answered with HTTP {status}")
                return False
            connection.reconnect()
            return True
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(connection.auth, status, challenge))
            self._renewing.add_done_callback(self._renewed)
        return await asyncio.shield(self._renewing)

    async def _renew(self, auth: ServerAuth, status: int, challenge: str) -> bool:
        try:
            is_renewed = await auth.auth_failed(status, challenge)
        except McpAuthError as error:
            self._connection.needs_login(error.why or "")
            return False
        if is_renewed:
            if self._under_way:
                # They were sent with the old credential: leaving now would hide what became of them.
                await asyncio.wait(set(self._under_way), timeout=SETTLING_SECONDS)
            self._connection.reconnect()
        else:
            self._connection.needs_login(f"It answered with HTTP {status}")
        return is_renewed

    def _renewed(self, task: asyncio.Task[bool]) -> None:
        self._renewing = None
        if not task.cancelled() and task.exception() is not None:
            _log.warning(
                "mcp server %s: renewing its credential failed: %s", self._connection.name, task.exception()
            )
