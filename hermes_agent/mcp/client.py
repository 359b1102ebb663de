"""One connected session with a server, in our own words. The `mcp` SDK ends here.

Deliberately *not* built on the SDK's `Client`: a result that misses its output schema keeps its content,
one malformed tool does not hide the others, and server requests reach the person whose call they belong to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import mcp_types as types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from hermes_agent import __version__
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.mcp import content
from hermes_agent.mcp.calls import Call, CallsUnderWay
from hermes_agent.mcp.catalogue import Catalogue, RemoteTool
from hermes_agent.mcp.deadline import Deadline
from hermes_agent.mcp.dispatcher import SiftingDispatcher
from hermes_agent.mcp.errors import McpConnectionLostError, McpError, McpRequestError, McpTimeoutError
from hermes_agent.mcp.listing import Rejected
from hermes_agent.mcp.news import ServerNews
from hermes_agent.mcp.ports import McpPorts
from hermes_agent.mcp.requests import ServerRequests
from hermes_agent.mcp.sse import REFUSED, SESSION_GONE
from hermes_agent.mcp.transports import Link

MAX_PAGES = 200
MAX_INPUT_ROUNDS = 10

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


class ServerClient:
    """A connected server. Methods raise `McpError`."""

    def __init__(self, name: str, settings: McpServerSettings, ports: McpPorts, link: Link) -> None:
        self.name = name
        self.catalogue = Catalogue()
        self.ended = asyncio.Event()
        self.news = ServerNews(name)
        self.refusal = link.refusal
        self._settings = settings
        self._link = link
        self._calls = CallsUnderWay()
        self._rejected: Rejected = {}
        self._requests = ServerRequests(name, settings, ports)
        self.session = ClientSession(
            dispatcher=SiftingDispatcher(
                link, self._rejected, lambda: self.session.protocol_version, self.ended.set
            ),
            sampling_callback=self._sample if self._requests.can_sample else None,
            sampling_capabilities=types.SamplingCapability(tools=types.SamplingToolsCapability()),
            elicitation_callback=self._elicit,
            list_roots_callback=self._list_roots,
            logging_callback=self.news.on_log,
            message_handler=self.news.on_message,
            client_info=types.Implementation(name="hermes-agent", version=__version__),
        )

    def is_alive(self) -> bool:
        """False if the session is over or the server's program has ended."""
        return not self.ended.is_set() and self._link.is_alive

    async def ping(self) -> None:
        """Return when the server answers. Raises whatever went wrong otherwise."""
        await self.session.send_ping()

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

        async def send(call: Call) -> types.CallToolResult | types.InputRequiredResult:
            own = params.model_copy(update=call.fields)
            return await self.session.send_request(
                types.CallToolRequest(params=own), _CALL, progress_callback=call.progress
            )

        return content.from_call(await self._call(tool, context, send))

    async def read_resource(self, uri: str, context: ToolContext) -> ToolResult:
        """Read a resource."""
        params = types.ReadResourceRequestParams(uri=uri)

        async def send(call: Call) -> types.ReadResourceResult | types.InputRequiredResult:
            own = params.model_copy(update=call.fields)
            return await self.session.send_request(types.ReadResourceRequest(params=own), _READ)

        result = await self._call(uri, context, send)
        self.news.watch(self.session, uri, context)
        return content.from_resource(result)

    async def get_prompt(self, prompt: str, arguments: dict[str, str], context: ToolContext) -> ToolResult:
        """Fill in a prompt."""
        params = types.GetPromptRequestParams(name=prompt, arguments=arguments)

        async def send(call: Call) -> types.GetPromptResult | types.InputRequiredResult:
            own = params.model_copy(update=call.fields)
            return await self.session.send_request(types.GetPromptRequest(params=own), _PROMPT)

        return content.from_prompt(await self._call(prompt, context, send))

    async def list_resources(self, context: ToolContext) -> ToolResult:
        """All resources and templates."""
        session = self.session

        async def send(_call: Call) -> ToolResult:
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

        async def send(_call: Call) -> ToolResult:
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
        send: Callable[[Call], Awaitable[ResultT | types.InputRequiredResult]],
    ) -> ResultT:
        """Send, answer what the server wants to know first, and put errors into our words."""
        deadline = Deadline(self._settings.timeout)
        call = Call(context, deadline)
        try:
            async with deadline.running():
                with self._calls.running(call):
                    await self._tell_roots(context)
                    return await self._rounds(call, send)
        except TimeoutError as error:
            raise McpTimeoutError(
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

    async def _tell_roots(self, context: ToolContext) -> None:
        """The directory that the session works in may be another one than at its last call."""
        is_told = self.session.protocol_version not in MODERN_PROTOCOL_VERSIONS
        if is_told and self._requests.has_new_roots(context):
            await self.session.send_notification(types.RootsListChangedNotification())

    async def _rounds(
        self,
        call: Call,
        send: Callable[[Call], Awaitable[ResultT | types.InputRequiredResult]],
    ) -> ResultT:
        for _ in range(MAX_INPUT_ROUNDS):
            try:
                result = await send(call)
            except MCPError as error:
                if error.code != types.URL_ELICITATION_REQUIRED or call.has_opened_urls:
                    raise
                call.has_opened_urls = True
                if not await self._open_urls(call, error):
                    raise
                continue
            if not isinstance(result, types.InputRequiredResult):
                return result
            call.fields = {"request_state": result.request_state, "input_responses": None}
            if result.input_requests:
                call.fields["input_responses"] = {
                    key: await self._answer(request, call) for key, request in result.input_requests.items()
                }
            else:
                await asyncio.sleep(0.1)  # the server only wants to be asked again
        raise McpRequestError(self.name, f"MCP server {self.name!r} went on asking for input without an end")

    async def _answer(self, request: types.InputRequest, call: Call) -> types.InputResponse:
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

    async def _open_urls(self, call: Call, error: MCPError) -> bool:
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
        status = f" (HTTP {self.refusal.status})" if error.message.startswith(REFUSED) else ""
        return McpRequestError(
            self.name, f"MCP server {self.name!r}: {error.message}{status}", code=error.code
        )

    # -- what the server asks of us

    async def _elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the SDK names it
        params: types.ElicitRequestParams,
    ) -> types.ElicitResult | types.ErrorData:
        with self._calls.asked() as asking:
            return await self._requests.elicit(params, asking)

    async def _sample(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the SDK names it
        params: types.CreateMessageRequestParams,
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        with self._calls.asked() as asking:
            return await self._requests.sample(params, asking)

    async def _list_roots(self, context: ClientRequestContext) -> types.ListRootsResult | types.ErrorData:  # noqa: ARG002
        call = self._calls.asking()
        return self._requests.list_roots(call.context if call else None)


def _remote(tool: types.Tool) -> RemoteTool:
    hints = tool.annotations
    return RemoteTool(
        tool.name,
        tool.description or tool.title or "",
        tool.input_schema,
        is_read_only=bool(hints and hints.read_only_hint),
        is_idempotent=bool(hints and hints.idempotent_hint),
    )
