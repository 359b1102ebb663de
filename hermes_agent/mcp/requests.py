"""What servers ask of us: input from the person (elicitation), a model's answer (sampling), roots."""

from __future__ import annotations

import contextlib
import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import mcp_types as types

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.approvals import Question
from hermes_agent.core.tool import ToolContext
from hermes_agent.mcp.forms import Declined, Field, NotUnderstood, fields_of
from hermes_agent.mcp.ports import McpPorts
from hermes_agent.mcp.sampling import Sampler
from hermes_agent.mcp.texts import whole

ASK_SECONDS = 600.0
MAX_MESSAGE_CHARS = 2_000
TRIES = 3
_ACCEPT, _DECLINE = "accept", "decline"

_log = logging.getLogger(__name__)


class ServerRequests:
    """Answers one server. Declines where nobody can be asked."""

    def __init__(self, name: str, settings: McpServerSettings, ports: McpPorts) -> None:
        self._name = name
        self._ports = ports
        self.can_sample = settings.sampling.enabled and ports.model_for is not None
        self._sampler = Sampler(name, settings.sampling, ports.model_for)
        self._fixed_roots = fixed_roots(settings, ports.cwd)
        self._told_roots: tuple[str, ...] | None = None

    async def sample(
        self, params: types.CreateMessageRequestParams, context: ToolContext | None
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        """Let a model answer on the server's behalf, within its limits."""
        return await self._sampler.answer(params, context)

    def list_roots(self, context: ToolContext | None) -> types.ListRootsResult:
        """The directories that the server may work in."""
        self._told_roots = self._roots(context)
        return types.ListRootsResult(
            roots=[types.Root(uri=f"file://{quote(each)}", name=Path(each).name) for each in self._told_roots]
        )

    def has_new_roots(self, context: ToolContext) -> bool:
        """Whether a server that asked for the roots should ask again. True once for every change."""
        before = self._told_roots
        if before is None or before == self._roots(context):
            return False
        self._told_roots = self._roots(context)
        return True

    def _roots(self, context: ToolContext | None) -> tuple[str, ...]:
        if self._fixed_roots:
            return self._fixed_roots
        if context is not None and context.environment.name == "local" and context.environment.cwd:
            return (context.environment.cwd,)
        return (str(self._ports.cwd),)

    async def elicit(
        self, params: types.ElicitRequestParams, context: ToolContext | None
    ) -> types.ElicitResult | types.ErrorData:
        """Ask the person."""
        if context is None:
            _log.info("mcp server %s asked for input, but nobody can be asked", self._name)
            return types.ElicitResult(action="decline")
        try:
            if isinstance(params, types.ElicitRequestURLParams):
                return await self._elicit_url(params, context)
            return await self._elicit_form(params, context)
        except Declined:
            return types.ElicitResult(action="decline")

    async def _elicit_url(
        self, params: types.ElicitRequestURLParams, context: ToolContext
    ) -> types.ElicitResult:
        parts = urlsplit(params.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return types.ElicitResult(action="decline")
        text = (
            f"MCP server {self._name!r} asks you to open a page of {parts.hostname}:\n{params.url}\n"
            f"{_shown(params.message)}\nOpen it in your browser, then accept."
        )
        answer = await self._ask(context, text, (_ACCEPT, _DECLINE))
        if answer.strip().lower() not in (_ACCEPT, "yes", "y", "ok"):
            raise Declined
        return types.ElicitResult(action="accept")

    async def _elicit_form(
        self, params: types.ElicitRequestFormParams, context: ToolContext
    ) -> types.ElicitResult:
        fields = fields_of(dict(params.requested_schema))
        title = f"MCP server {self._name!r} asks: {_shown(params.message)}"
        if not fields:
            answer = await self._ask(context, title, (_ACCEPT, _DECLINE))
            if answer.strip().lower() not in (_ACCEPT, "yes", "y", "ok"):
                raise Declined
            return types.ElicitResult(action="accept", content={})
        content: dict[str, Any] = {}
        for number, field in enumerate(fields, 1):
            place = f" ({number} of {len(fields)})" if len(fields) > 1 else ""
            advice = "\nTo refuse, answer: decline" if number == 1 else ""
            value = await self._field(context, f"{title}\n{field.question}{place}{advice}", field)
            if value is not None:
                content[field.name] = value
        return types.ElicitResult(action="accept", content=whole(content))

    async def _field(self, context: ToolContext, text: str, field: Field) -> Any:
        for _ in range(TRIES):
            answer = await self._ask(context, text, field.choices)
            try:
                return field.read(answer)
            except NotUnderstood as error:
                text = f"{error}\n{field.question}"
        raise Declined

    async def _ask(self, context: ToolContext, text: str, choices: tuple[str, ...]) -> str:
        question = Question(f"mcp_{secrets.token_hex(6)}", text, choices, ASK_SECONDS)
        answer = await context.ask(question)
        if answer is None or answer.strip().lower() in (_DECLINE, "cancel", "refuse"):
            raise Declined
        return answer


def fixed_roots(settings: McpServerSettings, cwd: Path) -> tuple[str, ...]:
    """The directories that the configuration names: `roots`, else those among the arguments.

    A server that is started for certain directories (`server-filesystem /data`) would otherwise give them
    up for the working directory, because what the client lists replaces what the arguments say.
    """
    start = cwd / Path(settings.cwd).expanduser()
    if settings.roots:
        return tuple(str(start / Path(each).expanduser()) for each in settings.roots)
    found = []
    for before, argument in zip(("", *settings.args), settings.args, strict=False):
        if argument.startswith(("/", "~", ".")) and not before.startswith("-"):
            with contextlib.suppress(OSError, RuntimeError):
                path = (start / Path(argument).expanduser()).resolve()
                if path.is_dir():
                    found.append(str(path))
    return tuple(found)


def _shown(text: str) -> str:
    return text[:MAX_MESSAGE_CHARS].strip()
