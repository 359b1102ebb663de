"""Several keys of one provider, taking turns."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hermes_agent.core.errors import ModelAuthError, ModelError, ModelQuotaError, ModelRateLimitError
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest, ReplyRestarted
from hermes_agent.models.credentials import Credential
from hermes_agent.models.retry import LONGEST_WAIT_SECONDS, Sleep, duration, reason_of
from hermes_agent.models.streams import open_stream

Strategy = Literal["fill_first", "round_robin", "least_used", "random"]

RATE_LIMIT_REST_SECONDS = 3600.0
"""How long a key rests after repeated 429 answers, unless the provider names a time."""
QUOTA_REST_SECONDS = 24 * 3600.0
"""How long a key without credit rests."""
RATE_LIMIT_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class KeyState:
    """What is known of one key in this process.

    Attributes:
        status: `ok`, `rate_limited`, `no_credit` or `refused`.
        resting_until: Clock time; infinite for refused keys.
    """

    status: str = "ok"
    resting_until: float = 0.0
    request_count: int = 0


class PoolModel:
    """Picks a key for every request and takes the next one when a provider refuses it.

    A failure is charged to the key that met it. 429: one more try, then the key rests for an hour
    (or as long as the provider says); 402: a day; 401: for good.

    Args:
        info: Who answers.
        credentials: At least two.
        build: Makes the model for one key; called once for each key that is used.
        strategy: Which key is next.
        sleep: Waits; tests pass their own.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        info: ModelInfo,
        credentials: Sequence[Credential],
        build: Callable[[Credential], Model],
        *,
        strategy: Strategy = "fill_first",
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._info = info
        self._credentials = tuple(credentials)
        self._build = build
        self._strategy = strategy
        self._sleep = sleep
        self._clock = clock
        self._models: dict[str, Model] = {}
        self._turn = 0
        self.states = {credential.id: KeyState() for credential in credentials}

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request with the first key that is accepted, and stream its reply.

        Raises:
            ModelError: The failure of the last key tried, or that all of them rest.
        """
        last: ModelError | None = None
        tried = 0
        while (credential := self._pick()) is not None:
            state = self.states[credential.id]
            for is_retry in (False, True):
                state.request_count += 1
                tried += 1
                try:
                    async with open_stream(self._model(credential), request) as events:
                        async for event in events:
                            yield event
                except (ModelRateLimitError, ModelQuotaError, ModelAuthError) as error:
                    last = error
                    delay = self._retry_delay(error, is_retry=is_retry)
                else:
                    state.status = "ok"
                    return
                if delay is not None:
                    yield ReplyRestarted(reason_of(last), tried, delay)
                    await self._sleep(delay)
                    continue
                if not self._rest(credential, last):
                    raise last
                if self._pick() is not None:
                    yield ReplyRestarted(f"{reason_of(last)}; trying another key", tried, 0.0)
                break
        raise self._all_resting(last)

    def _model(self, credential: Credential) -> Model:
        model = self._models.get(credential.id)
        if model is None:
            model = self._models[credential.id] = self._build(credential)
        return model

    def _pick(self) -> Credential | None:
        now = self._clock()
        ready = [each for each in self._credentials if self.states[each.id].resting_until <= now]
        if not ready:
            return None
        if self._strategy == "random":
            return random.choice(ready)  # noqa: S311 - not a secret
        if self._strategy == "least_used":
            return min(ready, key=lambda each: self.states[each.id].request_count)
        if self._strategy == "round_robin":
            self._turn += 1
            return ready[(self._turn - 1) % len(ready)]
        return ready[0]

    @staticmethod
    def _retry_delay(error: ModelError, *, is_retry: bool) -> float | None:
        """How long to wait before the same key is tried once more; None if it is not."""
        if is_retry or not isinstance(error, ModelRateLimitError):
            return None
        asked = error.retry_after_seconds
        if asked is None:
            return RATE_LIMIT_RETRY_SECONDS
        return asked if asked <= RATE_LIMIT_RETRY_SECONDS * 5 else None

    def _rest(self, credential: Credential, error: ModelError) -> bool:
        """Let a key rest; False if the failure says nothing about the key."""
        state = self.states[credential.id]
        now = self._clock()
        if isinstance(error, ModelRateLimitError):
            state.status = "rate_limited"
            state.resting_until = now + (error.retry_after_seconds or RATE_LIMIT_REST_SECONDS)
        elif isinstance(error, ModelQuotaError):
            state.status = "no_credit"
            state.resting_until = now + QUOTA_REST_SECONDS
        elif error.status == 403:  # the key is good, it may not do this; another key may
            return self._skip_forbidden(credential)
        else:
            state.status = "refused"
            state.resting_until = float("inf")
        return True

    def _skip_forbidden(self, credential: Credential) -> bool:
        self.states[credential.id].status = "forbidden"
        return False

    def _all_resting(self, last: ModelError | None) -> ModelError:
        if all(state.resting_until == float("inf") for state in self.states.values()):
            assert last is None or isinstance(last, ModelAuthError)
            return last or ModelAuthError(
                f"{self._info.provider} refused all {len(self._credentials)} keys",
                remedy="Replace them in .env (hermes config env-path) or in credential_pool of auth.json.",
            )
        wait = min(state.resting_until for state in self.states.values()) - self._clock()
        kind = type(last) if isinstance(last, ModelRateLimitError | ModelQuotaError) else ModelRateLimitError
        count, rest = len(self._credentials), duration(max(wait, 0))
        return kind(
            f"All {count} keys of {self._info.provider} are resting for {rest}",
            status=last.status if last else None,
            retry_after_seconds=max(wait, LONGEST_WAIT_SECONDS + 1) if wait > 0 else None,
            diagnostics=last.diagnostics if last else None,
            why=last.why if last else "Each has met its limit.",
            remedy="Wait, add another key to .env, or choose another provider: hermes model",
        )

    async def aclose(self) -> None:
        """Release connections of all keys."""
        for model in self._models.values():
            await model.aclose()
