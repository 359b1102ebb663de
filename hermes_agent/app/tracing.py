"""OpenTelemetry traces with the conventions for generative AI: one span for each run, request and call.

Loaded only when `telemetry.traces` is on. A run is `invoke_agent`, below it `chat` for each request to a
model and `execute_tool` for each call of a tool; a subagent's run hangs below the call that started it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from hermes_agent import __version__
from hermes_agent.agent.run import Run
from hermes_agent.agent.service import AgentPorts
from hermes_agent.agent.session import Session
from hermes_agent.app import traced_content as content
from hermes_agent.config.sections.telemetry import TelemetrySettings
from hermes_agent.core.approvals import Verdict
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.model import (
    Model,
    ModelEvent,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReplyRestarted,
    ToolDefinition,
    Usage,
)
from hermes_agent.core.tool import Tool, ToolContext, ToolResult

_LOG = logging.getLogger(__name__)

_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_FLUSH_SECONDS: Final = 2.0
_SEND_SECONDS: Final = 10.0
_DELAY_MS: Final = 2_000

_PROVIDERS: Final = {"gemini": "gcp.gemini", "xai": "x_ai", "mistral": "mistral_ai"}
"""Our names of providers that the conventions call otherwise."""

Redact = Callable[[str], str]


class Tracing:
    """Sends spans to a collector. Close it with `aclose`.

    Args:
        settings: The `telemetry` section, with `traces` on.
        variable: Reads the standard `OTEL_…` variables.
        redact: Takes secrets out of content.
    """

    def __init__(
        self, settings: TelemetrySettings, variable: Callable[[str], str | None], redact: Redact
    ) -> None:
        exporter = OTLPSpanExporter(
            endpoint=traces_endpoint(settings, variable),
            headers=dict(settings.headers) or _headers(variable),
            timeout=_SEND_SECONDS,
        )
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": settings.service_name, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
        self._tracer = self._provider.get_tracer("hermes_agent", __version__)
        self._redact: Redact | None = redact if settings.content else None

    def instrument(self, ports: AgentPorts) -> AgentPorts:
        """The same ports, with spans around what they make."""
        make_model, make_tools, make_auxiliary = ports.make_model, ports.make_tools, ports.make_auxiliary

        def model(provider: str | None, name: str | None) -> Model:
            return self.model(make_model(provider, name))

        def auxiliary(task: str, main: Model) -> Model:
            return self.model(make_auxiliary(task, main))

        def tools(toolsets: Sequence[str]) -> Sequence[Tool]:
            return tuple(TracedTool(tool, self._tracer, self._redact) for tool in make_tools(toolsets))

        return replace(
            ports, make_model=model, make_auxiliary=auxiliary, make_tools=tools, around_run=self.around_run
        )

    def model(self, model: Model) -> Model:
        """The model, with a span around each request."""
        return model if isinstance(model, TracedModel) else TracedModel(model, self._tracer, self._redact)

    def around_run(self, session: Session, run: Run) -> AbstractContextManager[object]:
        """A span around a run; what is done in its task belongs to it."""
        return self._around(session, run)

    @contextmanager
    def _around(self, session: Session, run: Run) -> Iterator[None]:
        info = session.model.info
        span = self._tracer.start_span(
            f"invoke_agent {content.AGENT}",
            kind=SpanKind.INTERNAL,
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": content.AGENT,
                "gen_ai.agent.version": __version__,
                "gen_ai.conversation.id": session.id,
                "hermes.run.id": run.id,
                "hermes.source": session.record.source,
                **_request_attributes(info),
            },
        )
        run.add_done_callback(lambda finished: _end_run(span, finished, self._redact))
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            otel_context.detach(token)
            if not run.is_finished:  # it fell without a last event
                span.set_status(Status(StatusCode.ERROR))
                span.end()

    async def aclose(self) -> None:
        """Send what is left, but not for long: a collector that is down must not hold up the end."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended without waiting
                loop.call_soon_threadsafe(closed.set)

        # Of its own and a daemon: a process does not wait for such a thread when it ends.
        threading.Thread(target=close, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await closed.wait()
        except TimeoutError:
            _LOG.warning("the trace collector did not take the last spans in time")


class TracedModel:
    """A `Model` with a `chat` span around each request."""

    def __init__(self, model: Model, tracer: trace.Tracer, redact: Redact | None) -> None:
        self._model = model
        self._tracer = tracer
        self._redact = redact

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._model.info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply."""
        info = self._model.info
        span = self._tracer.start_span(
            f"chat {info.model}",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.request.stream": True,
                **_request_attributes(info),
                **_server_attributes(info),
            },
        )
        if request.max_output_tokens is not None:
            span.set_attribute("gen_ai.request.max_tokens", request.max_output_tokens)
        if self._redact is not None:
            span.set_attributes(content.of_request(request, self._redact))
        began, is_first, is_ended = time.perf_counter(), True, False
        events: Any = self._model.stream(request)
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, ModelReply):
                        is_ended = True
                        self._end(span, event)
                    elif isinstance(event, ReplyRestarted):
                        span.add_event("hermes.restart", {"reason": event.reason, "attempt": event.attempt})
                    elif is_first:
                        is_first = False
                        span.set_attribute("gen_ai.response.time_to_first_chunk", time.perf_counter() - began)
                    yield event
        except HermesError as error:
            _fail(span, error)
            raise
        finally:
            if not is_ended:
                span.end()

    def _end(self, span: Span, reply: ModelReply) -> None:
        span.set_attributes(
            {
                "gen_ai.response.model": reply.info.model,
                "gen_ai.response.finish_reasons": (reply.message.finish_reason,),
                **_usage_attributes(reply.usage),
            }
        )
        if self._redact is not None:
            span.set_attributes(content.of_reply(reply.message, self._redact))
        span.end()

    async def aclose(self) -> None:
        """Release connections."""
        await self._model.aclose()


class TracedTool:
    """A `Tool` with an `execute_tool` span around each call."""

    def __init__(self, tool: Tool, tracer: trace.Tracer, redact: Redact | None) -> None:
        self._tool = tool
        self._tracer = tracer
        self._redact = redact

    @property
    def definition(self) -> ToolDefinition:
        """What the model is told."""
        return self._tool.definition

    @property
    def emoji(self) -> str:
        """One character for progress displays."""
        return self._tool.emoji

    def is_parallel_safe(self, arguments: Mapping[str, Any]) -> bool:
        """As the tool says."""
        return self._tool.is_parallel_safe(arguments)

    def touched_paths(self, arguments: Mapping[str, Any], context: ToolContext) -> tuple[str, ...] | None:
        """As the tool says."""
        return self._tool.touched_paths(arguments, context)

    def preview(self, arguments: Mapping[str, Any]) -> str:
        """As the tool says."""
        return self._tool.preview(arguments)

    def review(self, arguments: Mapping[str, Any], context: ToolContext) -> Verdict:
        """As the tool says."""
        return self._tool.review(arguments, context)

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Do it."""
        name = self._tool.definition.name
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "extension" if name.startswith("mcp_") else "function",
            "gen_ai.tool.call.id": context.tool_call_id,
            "gen_ai.conversation.id": context.session.session_id,
        }
        with self._tracer.start_as_current_span(
            f"execute_tool {name}",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if self._redact is not None:
                text = self._redact(json.dumps(dict(arguments), ensure_ascii=False, default=str))
                span.set_attribute("gen_ai.tool.call.arguments", content.cut(text))
            try:
                result = await self._tool.run(arguments, context)
            except HermesError as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)
                raise
            if result.is_error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", "tool_error")
            if self._redact is not None:
                span.set_attribute("gen_ai.tool.call.result", content.cut(self._redact(result.text)))
            return result


def traces_endpoint(settings: TelemetrySettings, variable: Callable[[str], str | None]) -> str:
    """The full address of the collector."""
    exact = "" if settings.endpoint else variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if exact:
        return exact
    base = settings.endpoint or variable("OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULT_ENDPOINT
    is_exact = bool(settings.endpoint) and urlsplit(base).path.strip("/") != ""
    return base if is_exact else f"{base.rstrip('/')}/v1/traces"


def _headers(variable: Callable[[str], str | None]) -> dict[str, str] | None:
    text = variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or variable("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs} or None


def _request_attributes(info: ModelInfo) -> dict[str, Any]:
    return {
        "gen_ai.provider.name": _PROVIDERS.get(info.provider, info.provider),
        "gen_ai.request.model": info.model,
    }


def _server_attributes(info: ModelInfo) -> dict[str, Any]:
    parts = urlsplit(info.base_url)
    if not parts.hostname:
        return {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname, "server.port": port}


def _usage_attributes(usage: Usage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    if usage.cost_usd is not None:
        found["hermes.cost_usd"] = usage.cost_usd
    return found


def _end_run(span: Span, finished: RunFinished, redact: Redact | None) -> None:
    span.set_attributes(
        {
            "hermes.outcome": finished.outcome,
            "hermes.turns": finished.turns,
            **_usage_attributes(finished.usage),
        }
    )
    if finished.outcome == "failed":
        span.set_attribute("error.type", finished.error_type or "failed")
        span.set_status(Status(StatusCode.ERROR, finished.error[0] if finished.error else None))
    if redact is not None:
        span.set_attributes(content.of_text(finished.text, redact))
    span.end()


def _fail(span: Span, error: HermesError) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, error.message))
