"""Retries, several keys, fallbacks: what happens when a model does not answer at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from models_loopback import Loopback, ask, delta, http, loopback, sse

from hermes_agent.config.environ import Environ
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelConnectionError,
    ModelError,
    ModelNotFoundError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRequestError,
    ModelResponseError,
    ModelServerError,
    ModelTimeoutError,
    StreamCutError,
)
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import (
    ModelEvent,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReplyRestarted,
    TextChunk,
    Usage,
)
from hermes_agent.models.credentials import Credential
from hermes_agent.models.errors import retry_after_seconds
from hermes_agent.models.fallback import FallbackModel
from hermes_agent.models.pool import PoolModel, Strategy
from hermes_agent.models.resolve import resolve_model
from hermes_agent.models.retry import RetryModel

HI = ModelRequest("", [UserMessage.of("hi")], session_id="s")


@dataclass
class Playing:
    """A model that plays outcomes in order: text is answered, errors are raised after `partial` was shown."""

    outcomes: list[str | ModelError]
    name: str = "one"
    partial: str = ""
    asked: int = 0

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.name, "m", "chat_completions")

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        outcome = self.outcomes[min(self.asked, len(self.outcomes) - 1)]
        self.asked += 1
        if isinstance(outcome, ModelError):
            if self.partial:
                yield TextChunk(self.partial)
            raise outcome
        yield TextChunk(outcome)
        yield ModelReply(AssistantMessage(outcome), Usage(requests=1), self.info)

    async def aclose(self) -> None:
        self.outcomes = [ModelConnectionError("closed")]


@dataclass
class Waits:
    """Waits no time and remembers how long it should have been."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def retrying(model: Playing, waits: Waits, *, retries: int = 3) -> RetryModel:
    return RetryModel(model, max_retries=retries, sleep=waits, jitter=lambda: 1.0)


@pytest.mark.parametrize(
    "kind",
    [
        ModelRateLimitError,
        ModelServerError,
        ModelConnectionError,
        ModelTimeoutError,
        StreamCutError,
        ModelResponseError,
    ],
)
async def test_failures_that_may_pass_are_retried_and_partial_text_is_voided(kind: type[ModelError]) -> None:
    waits = Waits()
    got = await ask(retrying(Playing([kind("no"), kind("no"), "yes"], partial="ye"), waits), HI)
    kinds = [type(event) for event in got.events]
    assert kinds == [TextChunk, ReplyRestarted, TextChunk, ReplyRestarted, TextChunk, ModelReply]
    assert waits.seconds == [1.0, 2.0]
    restarts = [event for event in got.events if isinstance(event, ReplyRestarted)]
    assert [(each.attempt, each.delay_seconds) for each in restarts] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize(
    "kind", [ModelAuthError, ModelQuotaError, ModelNotFoundError, ModelRequestError, ContextOverflowError]
)
async def test_refusals_are_not_retried(kind: type[ModelError]) -> None:
    model = Playing([kind("no"), "yes"])
    with pytest.raises(kind):
        await ask(retrying(model, Waits()), HI)
    assert model.asked == 1


async def test_retries_come_to_an_end() -> None:
    model = Playing([ModelServerError("no")])
    with pytest.raises(ModelServerError):
        await ask(retrying(model, Waits(), retries=2), HI)
    assert model.asked == 3


async def test_the_wait_a_provider_asks_for_is_kept_up_to_a_minute() -> None:
    waits = Waits()
    await ask(retrying(Playing([ModelRateLimitError("no", retry_after_seconds=20), "yes"]), waits), HI)
    assert 20 <= waits.seconds[0] <= 21
    with pytest.raises(ModelRateLimitError, match="60 min"):
        await ask(retrying(Playing([ModelRateLimitError("no", retry_after_seconds=3600)]), waits), HI)
    assert len(waits.seconds) == 1


def test_a_date_in_retry_after_is_understood() -> None:
    now = time.time()
    seconds = retry_after_seconds({"retry-after": formatdate(now + 30, usegmt=True)}, now=now)
    assert seconds is not None
    assert 28 <= seconds <= 31
    assert retry_after_seconds({"retry-after": formatdate(now - 30, usegmt=True)}, now=now) == 0
    assert retry_after_seconds({"retry-after-ms": "250", "retry-after": "9"}) == 0.25


# --- Fallback ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ModelAuthError, ModelQuotaError, ModelNotFoundError, ModelServerError])
async def test_the_next_provider_is_asked_and_named(kind: type[ModelError]) -> None:
    first, second = Playing([kind("no", why="because")], "one"), Playing(["yes"], "two")
    got = await ask(FallbackModel([first, second]), HI)
    (restart,) = [event for event in got.events if isinstance(event, ReplyRestarted)]
    assert restart.info is not None
    assert (restart.info.provider, restart.reason) == ("two", "no: because")
    assert got.reply.info.provider == "two"


async def test_a_request_that_would_be_refused_everywhere_is_not_taken_elsewhere() -> None:
    second = Playing(["yes"], "two")
    with pytest.raises(ContextOverflowError):
        await ask(FallbackModel([Playing([ContextOverflowError("long")]), second]), HI)
    assert second.asked == 0


async def test_the_fallback_stays_for_the_run_and_the_first_is_back_with_the_next_input() -> None:
    first, second = Playing([ModelAuthError("no")], "one"), Playing(["yes"], "two")
    model = FallbackModel([first, second])
    await ask(model, HI)
    call = AssistantMessage(tool_calls=(ToolCall("a", "f", "{}"),))
    tools = ModelRequest("", [*HI.messages, call, ToolMessage("a", "f", "ok")], session_id="s")
    await ask(model, tools)
    assert (first.asked, second.asked) == (1, 2)
    await ask(model, ModelRequest("", [*tools.messages, UserMessage.of("and?")], session_id="s"))
    assert (first.asked, second.asked) == (2, 3)


async def test_when_everybody_fails_the_first_failure_is_told_and_the_others_are_named() -> None:
    model = FallbackModel([Playing([ModelAuthError("first")]), Playing([ModelServerError("second")], "two")])
    with pytest.raises(ModelAuthError) as caught:
        await ask(model, HI)
    assert "second" in (caught.value.why or "")


# --- Several keys --------------------------------------------------------------------------------


class Pool:
    """A pool of playing models with a clock that tests turn."""

    def __init__(self, *outcomes: list[str | ModelError], strategy: Strategy = "fill_first") -> None:
        self.models = [Playing(each, f"key{place}") for place, each in enumerate(outcomes)]
        self.waits = Waits()
        self.now = 1000.0
        credentials = [Credential(str(place), secret=f"k{place}") for place in range(len(outcomes))]
        self.model = PoolModel(
            ModelInfo("p", "m", "chat_completions"),
            credentials,
            lambda credential: self.models[int(credential.id)],
            strategy=strategy,
            sleep=self.waits,
            clock=lambda: self.now,
        )

    @property
    def asked(self) -> list[int]:
        return [each.asked for each in self.models]


async def test_a_rate_limited_key_is_tried_once_more_and_then_rests_for_an_hour() -> None:
    pool = Pool([ModelRateLimitError("slow")], ["yes"])
    got = await ask(pool.model, HI)
    assert (pool.asked, got.text) == ([2, 1], "yes")
    await ask(pool.model, HI)
    assert pool.asked == [2, 2]
    pool.now += 3601
    await ask(pool.model, HI)
    assert pool.asked == [4, 3]


async def test_the_time_a_provider_names_is_the_rest() -> None:
    pool = Pool([ModelRateLimitError("slow", retry_after_seconds=90)], ["yes"])
    await ask(pool.model, HI)
    assert pool.asked == [1, 1]
    pool.now += 91
    await ask(pool.model, HI)
    assert pool.asked == [2, 2]


async def test_a_key_without_credit_rests_for_a_day_and_a_refused_one_for_good() -> None:
    pool = Pool([ModelQuotaError("empty")], [ModelAuthError("wrong", status=401)], ["yes"])
    await ask(pool.model, HI)
    assert pool.asked == [1, 1, 1]
    pool.now += 24 * 3600 + 1
    await ask(pool.model, HI)
    assert pool.asked == [2, 1, 2]
    assert [state.status for state in pool.model.states.values()] == ["no_credit", "refused", "ok"]


async def test_failures_that_say_nothing_of_the_key_leave_it_alone() -> None:
    pool = Pool([ModelServerError("down"), "yes"], ["other"])
    with pytest.raises(ModelServerError):
        await ask(pool.model, HI)
    assert (await ask(pool.model, HI)).text == "yes"


async def test_when_all_keys_rest_the_pool_says_for_how_long() -> None:
    pool = Pool([ModelRateLimitError("slow")], [ModelRateLimitError("slow")])
    with pytest.raises(ModelRateLimitError, match="All 2 keys of p are resting for 60 min"):
        await ask(pool.model, HI)
    with pytest.raises(ModelRateLimitError) as caught:
        await ask(pool.model, HI)
    assert pool.asked == [2, 2]
    assert caught.value.retry_after_seconds == 3600


async def test_when_all_keys_are_refused_the_refusal_is_told() -> None:
    pool = Pool([ModelAuthError("bad", status=401)], [ModelAuthError("bad", status=401)])
    for _ in range(2):
        with pytest.raises(ModelAuthError):
            await ask(pool.model, HI)
    assert pool.asked == [1, 1]


@pytest.mark.parametrize(
    ("strategy", "asked"), [("fill_first", [4, 0]), ("round_robin", [2, 2]), ("least_used", [2, 2])]
)
async def test_keys_take_turns_as_the_strategy_says(strategy: Strategy, asked: list[int]) -> None:
    pool = Pool(["a"], ["b"], strategy=strategy)
    for _ in range(4):
        await ask(pool.model, HI)
    assert pool.asked == asked


async def test_any_key_may_be_first_at_random() -> None:
    pool = Pool(["a"], ["b"], strategy="random")
    for _ in range(64):
        await ask(pool.model, HI)
    assert min(pool.asked) > 0


# --- A key is only ever sent to the host it belongs to --------------------------------------------


def stack(settings: dict[str, object], variables: dict[str, str]) -> object:
    return resolve_model(Settings(settings), Environ(variables), sleep=Waits())


def keys_seen(server: Loopback) -> str:
    return " ".join(str(request.headers) + request.body.decode() for request in server.requests)


async def test_each_host_gets_its_own_key_only_even_when_one_falls_back_to_the_other() -> None:
    async with loopback(http(b"", status="401 No")) as one, loopback(sse(delta("ok", "stop"))) as two:
        settings = {
            "model": {"provider": "custom:one", "default": "m"},
            "custom_providers": [
                {"name": "one", "base_url": one.url, "key_env": "ONE_KEY"},
                {"name": "two", "base_url": two.url, "key_env": "TWO_KEY"},
            ],
            "fallback_providers": [{"provider": "custom:two", "model": "m2"}],
        }
        variables = {"ONE_KEY": "key-of-one", "TWO_KEY": "key-of-two", "OPENROUTER_API_KEY": "key-of-router"}
        model = resolve_model(Settings(settings), Environ(variables), sleep=Waits())
        assert (await ask(model, HI)).text == "ok"
        await model.aclose()
        assert "key-of-one" in keys_seen(one)
        assert "key-of-two" in keys_seen(two)
        assert "key-of-two" not in keys_seen(one)
        assert "key-of-one" not in keys_seen(two)
        assert "key-of-router" not in keys_seen(one) + keys_seen(two)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed_anywhere(status: str) -> None:
    async with loopback(sse(delta("stolen", "stop"))) as thief:
        moved = http(b"", status=status, location=f"{thief.url}/chat/completions")
        async with loopback(moved) as server:
            settings = Settings(
                {
                    "model": {
                        "provider": "custom",
                        "base_url": server.url,
                        "default": "m",
                        "api_key": "mine-mine",
                    }
                }
            )
            model = resolve_model(settings, Environ({}), sleep=Waits())
            with pytest.raises(ModelRequestError) as caught:
                await ask(model, HI)
            await model.aclose()
            assert thief.url in (caught.value.why or "")
            assert not thief.requests


async def test_a_key_of_a_provider_is_not_sent_to_another_base_url() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        for provider in ("openrouter", "openai-api", "auto", "custom"):
            settings = Settings({"model": {"provider": provider, "base_url": server.url, "default": "m"}})
            variables = {"OPENROUTER_API_KEY": "router-key", "OPENAI_API_KEY": "openai-key"}
            model = resolve_model(settings, Environ(variables), sleep=Waits())
            await ask(model, HI)
            await model.aclose()
        assert len(server.requests) == 4
        assert "router-key" not in keys_seen(server)
        assert "openai-key" not in keys_seen(server)


async def test_a_proxy_of_a_provider_that_the_user_names_gets_its_key() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        settings = Settings(
            {
                "model": {"provider": "openrouter", "default": "m"},
                "providers": {"openrouter": {"base_url": server.url}},
            }
        )
        model = resolve_model(settings, Environ({"OPENROUTER_API_KEY": "router-key"}), sleep=Waits())
        await ask(model, HI)
        await model.aclose()
        assert server.requests[0].headers["authorization"] == "Bearer router-key"


async def test_several_keys_of_one_provider_take_over_from_each_other() -> None:
    refused, answered = http(b"", status="401 No"), sse(delta("ok", "stop"))
    async with loopback(refused, answered) as server:
        settings = Settings({"model": {"provider": "gemini", "default": "m"}})
        variables = {"GOOGLE_API_KEY": "key-a", "GEMINI_API_KEY": "key-b", "GEMINI_BASE_URL": server.url}
        model = resolve_model(settings, Environ(variables), sleep=Waits())
        assert (await ask(model, HI)).text == "ok"
        await model.aclose()
        assert [each.headers["authorization"] for each in server.requests] == ["Bearer key-a", "Bearer key-b"]


async def test_the_whole_stack_retries_over_the_wire() -> None:
    busy = http(b"", status="503 Busy", retry_after="0")
    async with loopback(
        busy, sse(delta("half"), done=False, close=True), sse(delta("whole", "stop"))
    ) as server:
        settings = Settings({"model": {"provider": "custom", "base_url": server.url, "default": "m"}})
        model = resolve_model(settings, Environ({}), sleep=Waits())
        got = await ask(model, HI)
        await model.aclose()
        assert got.reply.message.text == "whole"
        assert len([event for event in got.events if isinstance(event, ReplyRestarted)]) == 2


async def test_a_key_that_may_not_do_this_leaves_the_pool_as_it_was() -> None:
    pool = Pool([ModelAuthError("forbidden", status=403)], ["yes"])
    with pytest.raises(ModelAuthError):
        await ask(pool.model, HI)
    assert pool.model.states["0"].resting_until == 0


async def test_an_older_single_fallback_and_one_with_its_own_address_work() -> None:
    async with loopback(http(b"", status="404 No")) as one, loopback(sse(delta("ok", "stop"))) as two:
        section = {"provider": "custom", "base_url": one.url, "default": "m"}
        entry = {"provider": "custom", "model": "m2", "base_url": two.url, "key_env": "TWO_KEY"}
        for settings in ({"fallback_providers": [entry]}, {"fallback_model": entry}):
            model = resolve_model(
                Settings({"model": section, **settings}), Environ({"TWO_KEY": "key-of-two"}), sleep=Waits()
            )
            assert (await ask(model, HI)).text == "ok"
            await model.aclose()
        assert {each.headers["authorization"] for each in two.requests} == {"Bearer key-of-two"}
        assert all("authorization" not in each.headers for each in one.requests)
        assert {each.json["model"] for each in two.requests} == {"m2"}
