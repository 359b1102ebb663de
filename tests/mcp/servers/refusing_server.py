"""A server in plain Starlette that refuses, forgets sessions, cuts streams and redirects.

It speaks Streamable HTTP at `/mcp` and the older SSE at `/sse`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TOOLS = [{"name": "echo", "inputSchema": {"type": "object"}}]


@dataclass
class RefusingServer:
    """What it does can be changed while it runs.

    Attributes:
        token: The bearer token it takes; empty takes anything.
        sessions: Ids it knows; others get 404.
        calls: Tool calls that it saw.
        is_cutting: Ends the stream of a call before the answer; the rest comes when it is resumed.
        redirect: Where POSTs (of SSE: the first GET) are sent instead.
        endpoint: Where the SSE stream says that messages go.
        status: What the next call over SSE is answered with.
        noise: Events that come first.
    """

    token: str = ""
    sessions: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    seen_headers: list[dict[str, str]] = field(default_factory=list)
    is_cutting: bool = False
    redirect: str = ""
    resumed: list[str] = field(default_factory=list)
    endpoint: str = "/messages?session_id=1"
    status: int = 202
    noise: str = ""
    streams: list[asyncio.Queue[str | None]] = field(default_factory=list)
    _waiting: dict[str, Any] = field(default_factory=dict)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/mcp", self.streamable, methods=["GET", "POST", "DELETE"]),
                Route("/sse", self.events),
                Route("/messages", self.message, methods=["POST"]),
            ]
        )

    def refusal(self, request: Request) -> Response | None:
        self.seen_headers.append(dict(request.headers))
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({}, 401, {"www-authenticate": 'Bearer error="invalid_token"'})
        return None

    async def events(self, request: Request) -> Response:
        if (refusal := self.refusal(request)) is not None:
            return refusal
        if self.redirect:
            return Response(status_code=307, headers={"location": self.redirect})
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.streams.append(queue)

        async def body() -> Any:
            yield f"event: endpoint\ndata: {self.endpoint}\n\n{self.noise}"
            while (data := await queue.get()) is not None:
                yield f"event: message\ndata: {data}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    async def message(self, request: Request) -> Response:
        if (refusal := self.refusal(request)) is not None:
            return refusal
        message = await request.json()
        if message.get("method") == "tools/call" and self.status != 202:
            status, self.status = self.status, 202
            return Response(status_code=status)
        if "id" in message:
            self.streams[-1].put_nowait(json.dumps(self.answer(message)))
        return Response(status_code=202)

    async def streamable(self, request: Request) -> Response:
        if (refusal := self.refusal(request)) is not None:
            return refusal
        if request.method == "DELETE":
            return Response(status_code=200)
        if request.method == "GET":
            last = request.headers.get("last-event-id", "")
            if last not in self._waiting:
                return Response(status_code=405)
            self.resumed.append(last)
            return self.stream([("2", self._waiting.pop(last))])
        if self.redirect:
            return Response(status_code=307, headers={"location": self.redirect})
        message = await request.json()
        if message.get("method") == "initialize":
            session = f"session-{len(self.sessions)}"
            self.sessions.add(session)
            return JSONResponse(self.answer(message), headers={"mcp-session-id": session})
        if request.headers.get("mcp-session-id") not in self.sessions:
            return JSONResponse({}, 404)
        if "id" not in message:
            return Response(status_code=202)
        answer = self.answer(message)
        if message["method"] == "tools/call" and self.is_cutting:
            self._waiting["1"] = answer
            return self.stream([("1", None)])
        return JSONResponse(answer)

    def stream(self, events: list[tuple[str, Any]]) -> Response:
        async def body() -> Any:
            for event_id, message in events:
                data = "" if message is None else json.dumps(message)
                yield f"id: {event_id}\nretry: 10\nevent: message\ndata: {data}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        method, params = message["method"], message.get("params") or {}
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "refusing", "version": "1"},
            }
        elif method == "tools/list":
            result = {"tools": TOOLS}
        elif method == "tools/call":
            self.calls.append(params["arguments"].get("text", ""))
            result = {"content": [{"type": "text", "text": params["arguments"].get("text", "")}]}
        else:
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}
