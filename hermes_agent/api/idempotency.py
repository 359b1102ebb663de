"""`Idempotency-Key`: a request that is sent again gets the answer of the first one, and runs nothing."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hermes_agent.api.errors import ApiError, bad_request
from hermes_agent.api.wire import digest, dumps

if TYPE_CHECKING:
    from hermes_agent.api.call import Call
    from hermes_agent.api.conduct import Conductor

KEPT_SECONDS: Final = 300.0
MOST_KEPT: Final = 1_000

Answer: TypeAlias = tuple[dict[str, str], Any]
"""Headers and JSON value."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The key a client gave, for one owner and path, and a digest of the body."""

    name: str
    body: str


@dataclass(slots=True)
class _Known:
    body: str
    at: float
    result: asyncio.Task[Any]


class Idempotency:
    """Remembers answers for five minutes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def key(self, call: Call, body: Any) -> RequestKey | None:
        """The request's key, if it has one. Raises `ApiError`."""
        given = call.headers.get("idempotency-key", "").strip()
        if not given:
            return None
        if len(given) > 255:
            raise bad_request("Idempotency-Key is longer than 255 characters", "Idempotency-Key")
        return RequestKey(f"{call.owner}:{call.scope['path']}:{given}", digest(dumps(body)))

    async def answer(
        self,
        call: Call,
        key: RequestKey,
        conductor: Conductor,
        work: Callable[[], Awaitable[Answer]],
        *,
        status: int = 200,
    ) -> None:
        """Answer with the result of the work, done once for a key."""
        headers, value = await self._once(call, key, conductor, work)
        await call.answer(value, status, headers=headers)

    async def follow(
        self, call: Call, key: RequestKey, conductor: Conductor, record: Callable[[], Awaitable[str]]
    ) -> None:
        """Stream the log that `record` starts, from its beginning, once for a key."""
        log_id: str = await self._once(call, key, conductor, record)
        await conductor.follow(call, log_id, call.owner)

    async def _once(
        self, call: Call, key: RequestKey, conductor: Conductor, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        self._forget_old()
        known = self._known.get(key.name)
        if known is not None and known.body != key.body:
            raise ApiError(
                409,
                "This Idempotency-Key was used for another request",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        if known is None:
            task = conductor.runs.spawn(_awaited(work), f"idempotent-{key.name[-40:]}")
            known = self._known[key.name] = _Known(key.body, time.monotonic(), task)
        else:
            call.set_header("X-Hermes-Replayed", "true")
        try:
            return await asyncio.shield(known.result)
        except Exception:
            self._known.pop(key.name, None)  # a failure may be tried again
            raise

    def _forget_old(self) -> None:
        limit = time.monotonic() - KEPT_SECONDS
        while self._known:
            name, known = next(iter(self._known.items()))
            if known.at > limit and len(self._known) < MOST_KEPT:
                return
            del self._known[name]


async def _awaited(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()
