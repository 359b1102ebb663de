"""The API server's place in the process: which models, tools and stores it works with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hermes_agent import __version__
from hermes_agent.api.ports import ApiPorts
from hermes_agent.app.container import App
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.runs import ApiStore
from hermes_agent.core.surface import Service
from hermes_agent.models.resolve import describe
from hermes_agent.tools.toolsets import TOOLSETS, select_tools

if TYPE_CHECKING:
    from hermes_agent.api.server import ApiServer
    from hermes_agent.app.gateway import GatewayProcess

SURFACE = "api_server"


async def make_service(process: GatewayProcess) -> Service | None:
    """The API server, if it is enabled or has a key."""
    settings = process.app.settings.api_server
    is_enabled = settings.enabled if settings.enabled is not None else bool(settings.key)
    return make_server(process.app) if is_enabled else None


def make_server(app: App) -> ApiServer:
    """The API server for an app."""
    app.serve()
    backend = _Backend(app)
    # Late: a gateway without this server should not import Starlette and uvicorn.
    server: ApiServer = load_late("hermes_agent.api.server:ApiServer")(backend.ports, on_end=backend.aclose)
    return server


class _Backend:
    """What all sessions of the API share."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store: ApiStore = load_late("hermes_agent.store.responses:ApiDatabase")(
            app.home.response_store_db
        )

    def ports(self) -> ApiPorts:
        """Ports with the settings as they are now."""
        app = self._app
        return ApiPorts(
            settings=app.settings.api_server,
            key=app.settings.api_server.key.strip(),
            version=__version__,
            service=app.service,
            sessions=app.store,
            store=self._store,
            describe_model=lambda: describe(app.settings, app.environ, home=app.home),
            skills=self._skills,
            toolsets=self._toolsets,
            jobs=app.job_desk(),
            redact=self._redact,
        )

    def _redact(self, text: str) -> str:
        return self._app.redactor.redact(text)

    async def aclose(self) -> None:
        """Close the store; it opens again at its next use."""
        await self._store.aclose()

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
