"""The API server's place in the process: which models, tools and stores it works with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hermes_agent import __version__
from hermes_agent.agent.service import AgentPorts, AgentService
from hermes_agent.api.ports import ApiPorts
from hermes_agent.app.container import App
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest
from hermes_agent.core.runs import ApiStore
from hermes_agent.core.surface import Service
from hermes_agent.core.tool import Tool
from hermes_agent.models.resolve import describe
from hermes_agent.tools.toolsets import TOOLSETS, select_tools

if TYPE_CHECKING:
    from hermes_agent.api.server import ApiServer
    from hermes_agent.app.gateway import GatewayProcess

TOOLS_SECONDS = 30.0
"""How long built tools are offered to new sessions before they are built anew."""

SURFACE = "api_server"


async def make_service(process: GatewayProcess) -> Service | None:
    """The API server, if it is enabled or has a key."""
    settings = process.app.settings.api_server
    is_enabled = settings.enabled if settings.enabled is not None else bool(settings.key)
    return make_server(process.app) if is_enabled else None


def make_server(app: App) -> ApiServer:
    """The API server for an app."""
    backend = _Backend(app)
    # Late: a gateway without this server should not import Starlette and uvicorn.
    server: ApiServer = load_late("hermes_agent.api.server:ApiServer")(
        backend.ports, on_reload=backend.forget, on_end=backend.aclose
    )
    return server


class SharedModel:
    """A model that many sessions use: closing a session leaves its connections open for the next."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._model.info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply."""
        events: Any = self._model.stream(request)
        async with aclosing(events):
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Nothing: the owner closes the model."""

    async def close(self) -> None:
        """Release connections."""
        await self._model.aclose()


class _Backend:
    """What all sessions of the API share."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store: ApiStore = load_late("hermes_agent.store.responses:ApiDatabase")(
            app.home.response_store_db
        )
        self._source: AgentService | None = None
        self._service: AgentService | None = None
        self._models: dict[tuple[str | None, str | None], SharedModel] = {}
        self._tools: dict[tuple[str, ...], tuple[float, Sequence[Tool]]] = {}
        self._make_model: Callable[[str | None, str | None], Model] = app.make_model
        self._make_tools: Callable[[Sequence[str]], Sequence[Tool]] = app.make_tools

    def ports(self) -> ApiPorts:
        """Ports with the settings as they are now."""
        app = self._app
        return ApiPorts(
            settings=app.settings.api_server,
            key=app.settings.api_server.key.strip(),
            version=__version__,
            service=self.service,
            sessions=app.store,
            store=self._store,
            describe_model=lambda: describe(app.settings, app.environ, home=app.home),
            skills=self._skills,
            toolsets=self._toolsets,
            redact=self._redact,
        )

    def _redact(self, text: str) -> str:
        return self._app.redactor.redact(text)

    def forget(self) -> None:
        """The settings have changed."""
        self._source = None

    async def aclose(self) -> None:
        """Close models and the store; they open again at their next use."""
        models = list(self._models.values())
        self._models.clear()
        for model in models:
            await model.close()
        await self._store.aclose()

    async def service(self) -> AgentService:
        """The app's service, with shared models and tools; another one after a reload."""
        source = await self._app.service()
        if source is not self._source or self._service is None:
            self._source = source
            self._models.clear()
            self._tools.clear()
            self._service = source.with_ports(self._shared)
        return self._service

    def _shared(self, ports: AgentPorts) -> AgentPorts:
        self._make_model, self._make_tools = ports.make_model, ports.make_tools
        return replace(ports, make_model=self._model, make_tools=self._tools_of)

    def _model(self, provider: str | None, name: str | None) -> Model:
        known = self._models.get((provider, name))
        if known is None:
            known = self._models[(provider, name)] = SharedModel(self._make_model(provider, name))
        return known

    def _tools_of(self, toolsets: Sequence[str]) -> Sequence[Tool]:
        key = tuple(toolsets)
        known = self._tools.get(key)
        if known is None or time.monotonic() > known[0] + TOOLS_SECONDS:
            known = self._tools[key] = (time.monotonic(), self._make_tools(toolsets))
        return known[1]

    def _toolsets(self) -> list[dict[str, Any]]:
        app = self._app
        offered = set(select_tools(app.toolsets_for(SURFACE), app.settings.custom_toolsets).tools)
        listed = []
        for name, tools in TOOLSETS.items():
            if name.startswith("hermes-"):
                continue
            listed.append({"name": name, "tools": list(tools), "enabled": offered.issuperset(tools)})
        return listed

    async def _skills(self) -> list[dict[str, Any]]:
        return [asdict(skill) for skill in await self._app.learning.skills.list()]
