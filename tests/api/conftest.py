"""A fixture that starts the API server (see `api_serving`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_serving import KEY, Api, StartApi, make_app, serving

from hermes_agent.config.paths import Home


@pytest.fixture
async def start_api(home: Home, model_server: Any, tmp_path: Path) -> AsyncIterator[StartApi]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    async with AsyncExitStack() as stack:

        async def start(script: Any = None, **settings: Any) -> Api:
            url = settings.pop("model_url", None) or model_server(script).base_url
            app = make_app(home, url, workspace, **settings)
            server = await stack.enter_async_context(serving(app))
            client = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=server.address, headers={"Authorization": f"Bearer {KEY}"}, timeout=30
                )
            )
            return Api(server, app, client, workspace=workspace)

        yield start
