"""One connected session with a server, in our own words. The `mcp` SDK ends here.

Deliberately *not* built on the SDK's `Client`: a result that misses its output schema keeps its content,
one malformed tool does not hide the others, and server requests reach the person whose call they belong to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import mcp_types as types
from mcp.client.session import ClientRequestContext, ClientSession, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from hermes_agent import __version__
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.mcp import content
from hermes_agent.mcp.catalogue import Catalogue, RemoteTool
from hermes_agent.mcp.deadline import Deadline
from hermes_agent.mcp.errors import McpConnectionLostError, McpError, McpRequestError
from hermes_agent.mcp.listing import Rejected, sift, sift_content
from hermes_agent.mcp.ports import McpPorts, ServerAuth
from hermes_agent.mcp.requests import ServerRequests
from hermes_agent.mcp.transports import Link, Refusal, TransportName, open_link

MAX_PAGES = 200
MAX_INPUT_ROUNDS = 10
SESSION_GONE = "Session terminated"
"""What the SDK makes of 404 within a session."""

_log = logging.getLogger(__name__)
_LEVELS = {"debug": 10, "info": 20, "notice": 20, "warning": 30, "error": 40}

ResultT = TypeVar("ResultT")
PageT = TypeVar("PageT")

_CALL: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)
_READ: TypeAdapter[types.ReadResourceResult | types.InputRequiredResult] = TypeAdapter(
    types.ReadResourceResult | types.InputRequiredResult
)
_PROMPT: TypeAdapter[types.GetPromptResult | types.InputRequiredResult] = TypeAdapter(
    types.GetPromptResult | types.InputRequiredResult
)


class _Dispatcher(JSONRPCDispatcher):
    """Takes out of lists and results what does not fit the protocol, and tells when the stream ended."""

    def __init__(
        self, link: Link, rejected: Rejected, version: Callable[[], str | None], on_end: Callable[[], None]
    ) -> None:
        super().__init__(link.read_stream, link.write_stream)
        self._version = version
        self._rejected = rejected
        self._on_end = on_end

    async def run(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().run(*args, **kwargs)
        finally:
            self._on_end()

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: types.RequestId | None = None,
    ) -> dict[str, Any]:
        raw = await super().send_raw_request(method, params, opts, _related_request_id=_related_request_id)
        if method == "tools/list":
            return sift(raw, self._rejected, self._version() or "")
        return sift_content(raw) if method == "tools/call" else raw


@dataclass(eq=False)
class _Call:
    """A call that is going on, and who waits for it."""

    context: ToolContext | None
    deadline: Deadline


class ServerClient:
    """A connected server. Methods raise `McpError`."""

    def __init__(self, name: str, settings: McpServerSettings, ports: McpPorts, link: Link) -> None:
        self.name = name
        self.catalogue = Catalogue()
        self.ended = asyncio.Event()
        self.on_changed: Callable[[], None] = lambda: None
        """Called when the server says that its tools changed."""
        self.refusal = link.refusal
        self._settings = settings
        self._link = link
        self._calls: list[_Call] = []
        self._rejected: Rejected = {}
        self._requests = ServerRequests(name, settings.sampling, ports)
        self._log = logging.getLogger(f"hermes_agent.mcp.server.{name}")
        self.session = ClientSession(
            dispatcher=_Dispatcher(
                link, self._rejected, lambda: self.session.protocol_version, self.ended.set
            ),
            sampling_callback=self._sample if self._requests.can_sample else None,
            sampling_capabilities=types.SamplingCapability(tools=types.SamplingToolsCapability()),
            elicitation_callback=self._elicit,
            list_roots_callback=self._list_roots,
            logging_callback=self._on_log,
            message_handler=self._on_message,
            client_info=types.Implementation(name="hermes-agent", version=__version__),
        )

    def is_alive(self) -> bool:
        """False if the session is over or the server's program has ended."""
        return not self.ended.is_set() and self._link.is_alive

    async def begin(self) -> None:
        """Agree on a protocol version and learn what the server offers.

        Raises:
            MCPError: The server refused.
        """
        await _negotiate(self.session)
        await self.refresh()

    async def refresh(self) -> Catalogue:
        """Ask again what the server offers."""
        session = self.session
        capabilities = session.server_capabilities or types.ServerCapabilities()
        self._rejected.clear()
        tools: list[types.Tool] = []
        if capabilities.tools is not None:
            tools = await self._pages(
                lambda params: session.list_tools(params=params), lambda page: page.tools
            )
        info = session.server_info
        self.catalogue = Catalogue(
            server=f"{info.name} {info.version}".strip() if info else "",
            protocol=session.protocol_version or "",
            tools=tuple(_remote(tool) for tool in tools),
            has_resources=capabilities.resources is not None,
            has_prompts=capabilities.prompts is not None,
            rejected=dict(self._rejected),
        )
        return self.catalogue

    async def call_tool(self, tool: str, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Call a tool and wait for its result."""
        params = types.CallToolRequestParams(name=tool, arguments=arguments)

        async def send(answers: _Answers) -> types.CallToolResult | types.InputRequiredResult:
            own = params.model_copy(update=answers.fields)
            return await self.session.send_request(
                types.CallToolRequest(params=own), _CALL, progress_callback=answers.progress
            )

        return content.from_call(await self._call(tool, context, send))

    async def read_resource(self, uri: str, context: ToolContext) -> ToolResult:
        """Read a resource."""
        params = types.ReadResourceRequestParams(uri=uri)

        async def send(answers: _Answers) -> types.ReadResourceResult | types.InputRequiredResult:
            own = params.model_copy(update=answers.fields)
            return await self.session.send_request(types.ReadResourceRequest(params=own), _READ)

        return content.from_resource(await self._call(uri, context, send))

    async def get_prompt(self, prompt: str, arguments: dict[str, str], context: ToolContext) -> ToolResult:
        """Fill in a prompt."""
        params = types.GetPromptRequestParams(name=prompt, arguments=arguments)

        async def send(answers: _Answers) -> types.GetPromptResult | types.InputRequiredResult:
            own = params.model_copy(update=answers.fields)
            return await self.session.send_request(types.GetPromptRequest(params=own), _PROMPT)

        return content.from_prompt(await self._call(prompt, context, send))

    async def list_resources(self, context: ToolContext) -> ToolResult:
        """All resources and templates."""
        session = self.session

        async def send(_answers: _Answers) -> ToolResult:
            resources = await self._pages(
                lambda params: session.list_resources(params=params), lambda page: page.resources
            )
            try:
                templates = await self._pages(
                    lambda params: session.list_resource_templates(params=params),
                    lambda page: page.resource_templates,
                )
            except MCPError:  # optional; many servers have no templates and say so with an error
                templates = []
            return content.from_resources(resources, templates)

        return await self._call("resources", context, send)

    async def list_prompts(self, context: ToolContext) -> ToolResult:
        """All prompts."""
        session = self.session

        async def send(_answers: _Answers) -> ToolResult:
            found = await self._pages(
                lambda params: session.list_prompts(params=params), lambda page: page.prompts
            )
            return content.from_prompts(found)

        return await self._call("prompts", context, send)

    async def _pages(
        self,
        fetch: Callable[[types.PaginatedRequestParams | None], Awaitable[PageT]],
        items: Callable[[PageT], list[ResultT]],
    ) -> list[ResultT]:
        found: list[ResultT] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = await fetch(types.PaginatedRequestParams(cursor=cursor) if cursor else None)
            found += items(page)
            cursor = getattr(page, "next_cursor", None)
            if not cursor or cursor in seen:
                break
            seen.add(cursor)
        return found

    async def _call(
        self,
        what: str,
        context: ToolContext,
        send: Callable[[_Answers], Awaitable[ResultT | types.InputRequiredResult]],
    ) -> ResultT:
        """Send, answer what the server wants to know first, and put errors into our words."""
        deadline = Deadline(self._settings.timeout)
        call = _Call(context, deadline)
        answers = _Answers(call)
        try:
            async with deadline.running():
                with self._active(call):
                    return await self._rounds(call, answers, send)
        except TimeoutError as error:
            raise McpRequestError(
                self.name,
                f"MCP server {self.name!r}: {what!r} did not answer within {self._settings.timeout:g} s",
                code=types.REQUEST_TIMEOUT,
                why="It was told to stop; it may have had effects.",
            ) from error
        except MCPError as error:
            raise self.translate(error) from error
        except (ValidationError, RuntimeError, ValueError) as error:
            raise McpRequestError(
                self.name,
                f"MCP server {self.name!r}: its answer to {what!r} does not follow the protocol",
                why=str(error)[:500],
            ) from error

    async def _rounds(
        self,
        call: _Call,
        answers: _Answers,
        send: Callable[[_Answers], Awaitable[ResultT | types.InputRequiredResult]],
    ) -> ResultT:
        for _ in range(MAX_INPUT_ROUNDS):
            try:
                result = await send(answers)
            except MCPError as error:
                if error.code != types.URL_ELICITATION_REQUIRED or answers.has_opened_urls:
                    raise
                answers.has_opened_urls = True
                if not await self._open_urls(call, error):
                    raise
                continue
            if not isinstance(result, types.InputRequiredResult):
                return result
            answers.fields = {"request_state": result.request_state, "input_responses": None}
            if result.input_requests:
                answers.fields["input_responses"] = {
                    key: await self._answer(request, call) for key, request in result.input_requests.items()
                }
            else:
                await asyncio.sleep(0.1)  # the server only wants to be asked again
        raise McpRequestError(self.name, f"MCP server {self.name!r} went on asking for input without an end")

    async def _answer(self, request: types.InputRequest, call: _Call) -> types.InputResponse:
        with call.deadline.paused():
            answer: types.InputResponse | types.ErrorData
            if isinstance(request, types.ElicitRequest):
                answer = await self._requests.elicit(request.params, call.context)
            elif isinstance(request, types.CreateMessageRequest):
                answer = await self._requests.sample(request.params, call.context)
            else:
                answer = self._requests.list_roots(call.context)
        if isinstance(answer, types.ErrorData):
            raise MCPError.from_error_data(answer)
        return answer

    async def _open_urls(self, call: _Call, error: MCPError) -> bool:
        """The server wants pages visited before it answers. False if the person did not."""
        asked = (error.data or {}).get("elicitations", []) if isinstance(error.data, dict) else []
        if not asked:
            return False
        for item in asked:
            params = types.ElicitRequestURLParams.model_validate(item)
            with call.deadline.paused():
                answer = await self._requests.elicit(params, call.context)
            if isinstance(answer, types.ErrorData) or answer.action != "accept":
                return False
        return True

    def translate(self, error: MCPError) -> McpError:
        """An SDK error in our words."""
        if error.code == types.CONNECTION_CLOSED or error.message == SESSION_GONE:
            return McpConnectionLostError(
                self.name,
                f"MCP server {self.name!r} went away during the call; it may have had effects",
                why=self._link.last_words,
            )
        status = f" (HTTP {self.refusal.status})" if error.message.startswith("Server returned") else ""
        return McpRequestError(
            self.name, f"MCP server {self.name!r}: {error.message}{status}", code=error.code
        )

    # -- what the server asks of us

    @contextmanager
    def _active(self, call: _Call) -> Iterator[None]:
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def _asking(self) -> _Call | None:
        """The call a server request belongs to. The wire does not say; with calls of several sessions
        going on nobody is asked, rather than the wrong person."""
        sessions = {id(call.context.session) for call in self._calls if call.context is not None}
        return self._calls[-1] if len(sessions) == 1 else None

    @contextmanager
    def _asked(self) -> Iterator[ToolContext | None]:
        call = self._asking()
        if call is None:
            yield None
            return
        with call.deadline.paused():
            yield call.context

    async def _elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the SDK names it
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        with self._asked() as asking:
            return await self._requests.elicit(params, asking)

    async def _sample(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the SDK names it
        params: types.CreateMessageRequestParams,
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        with self._asked() as asking:
            return await self._requests.sample(params, asking)

    async def _list_roots(self, context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:  # noqa: ARG002
        call = self._asking()
        return self._requests.list_roots(call.context if call else None)

    async def _on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        self._log.log(_LEVELS.get(params.level, 40), "%s", str(params.data)[:2000])

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.on_changed()
        elif isinstance(message, Exception):
            _log.debug("mcp server %s: %s", self.name, message)


class _Answers:
    """What a repeated request carries: answers to the server's questions, and where progress goes."""

    def __init__(self, call: _Call) -> None:
        self.fields: dict[str, Any] = {}
        self.has_opened_urls = False
        self._call = call

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show progress; the call is alive."""
        self._call.deadline.touch()
        if self._call.context is not None:
            share = f"{progress:g}/{total:g}" if total else f"{progress:g}"
            self._call.context.report(f"{message} ({share})\n" if message else f"{share}\n")


@asynccontextmanager
async def open_client(
    name: str,
    settings: McpServerSettings,
    ports: McpPorts,
    transport: TransportName,
    auth: ServerAuth | None,
    refusal: Refusal,
) -> AsyncGenerator[ServerClient]:
    """Connect to a server; on leaving, the session and its process are ended.

    Raises:
        McpError: It cannot be started, or refused the session.
    """
    async with open_link(name, settings, ports, transport, auth, refusal) as link:
        client = ServerClient(name, settings, ports, link)
        async with client.session:
            try:
                await client.begin()
            except MCPError as error:
                raise _begin_error(client, link, error) from error
            except (RuntimeError, ValidationError) as error:
                raise McpRequestError(
                    name, f"MCP server {name!r} does not follow the protocol", why=str(error)[:500]
                ) from error
            listening = asyncio.create_task(_listen(client)) if _must_listen(client) else None
            try:
                yield client
            finally:
                if listening is not None:
                    listening.cancel()
                    await asyncio.wait([listening])


def _must_listen(client: ServerClient) -> bool:
    """Whether changes must be subscribed to (2026 and later)."""
    session = client.session
    tools = session.server_capabilities.tools if session.server_capabilities else None
    return bool(tools and tools.list_changed) and session.protocol_version in MODERN_PROTOCOL_VERSIONS


async def _listen(client: ServerClient) -> None:
    try:
        async with listen(client.session, tools_list_changed=True) as changes:
            async for _change in changes:
                client.on_changed()
    except (MCPError, SubscriptionLost, TimeoutError) as error:
        _log.debug("mcp server %s tells of no changes: %s", client.name, error)


def _begin_error(client: ServerClient, link: Link, error: MCPError) -> McpError:
    if error.code != types.CONNECTION_CLOSED:
        return client.translate(error)
    return McpConnectionLostError(
        client.name,
        f"MCP server {client.name!r} ended before it was connected",
        why=link.last_words,
    )


async def _negotiate(session: ClientSession) -> None:
    """The handshake that every server knows; the newest protocol where it is the only one.

    Not the other way round: most servers that speak both ask their questions (elicitation, sampling) in
    ways that only work after the handshake, and older ones may hang at a first message they do not know.
    """
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in (types.UNSUPPORTED_PROTOCOL_VERSION, types.METHOD_NOT_FOUND):
            raise
        await session.discover()


def _remote(tool: types.Tool) -> RemoteTool:
    hints = tool.annotations
    return RemoteTool(
        tool.name,
        tool.description or tool.title or "",
        tool.input_schema,
        is_read_only=bool(hints and hints.read_only_hint),
        is_idempotent=bool(hints and hints.idempotent_hint),
    )
