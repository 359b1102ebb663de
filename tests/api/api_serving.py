"""The API server on a free port, with the real agent behind it and a scripted model behind that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from hermes_agent.api.server import ApiServer
from hermes_agent.app.api import make_server
from hermes_agent.app.container import App
from hermes_agent.config.environ import Environ
from hermes_agent.config.loader import load
from hermes_agent.config.paths import Home

KEY = "k-4f9a7c2e81d05b36"


@dataclass
class ServerEvent:
    """One server-sent event. `id` is 0 if it has none."""

    name: str
    data: str
    id: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def parse_events(text: str) -> list[ServerEvent]:
    """Events of a whole stream, comments left out."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(": ")
            if colon and name:
                fields[name] = value
        if "data" in fields:
            found.append(ServerEvent(fields.get("event", ""), fields["data"], int(fields.get("id", 0))))
    return found


@dataclass
class Api:
    """A running server and a client that knows its key."""

    server: ApiServer
    app: App
    client: httpx.AsyncClient
    key: str = KEY
    workspace: Path = field(default_factory=Path)

    @property
    def url(self) -> str:
        return self.server.address

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.client.post(path, json=body, headers=_dashed(headers))

    async def chat(self, text: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": text}], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def stream(self, path: str, body: Any, **headers: str) -> list[ServerEvent]:
        """The events of a whole stream."""
        response = await self.client.post(path, json=body, headers=_dashed(headers))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return parse_events(response.text)


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class StartApi(Protocol):
    """Starts a server whose model follows a script; `settings` are sections of config.yaml."""

    async def __call__(self, script: Any = None, **settings: Any) -> Api: ...


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[ApiServer]:
    """A server that answers."""
    server = make_server(app)
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.wait({running})
        await app.aclose()


def make_app(home: Home, base_url: str, workspace: Path, **settings: Any) -> App:
    """An app of a home whose model is at `base_url`."""
    config = {
        "model": {"provider": "custom", "base_url": base_url, "default": "echo"},
        "terminal": {"cwd": str(workspace)},
        "agent": {"api_max_retries": 0},
        "approvals": {"timeout": 10},
        **settings,
        "api_server": {"port": 0, "key": KEY, **settings.get("api_server", {})},
    }
    home.config_file.write_text(json.dumps(config), encoding="utf-8")
    return App(load(home, environ=Environ({"PATH": "/usr/local/bin:/usr/bin:/bin"})))


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something that no event tells is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of another thread, or of what has no event
            await asyncio.sleep(0.01)
