"""A loopback server with the part of Honcho's HTTP API (v3) that its SDK calls for us."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

NOW = "2026-11-21T10:00:00Z"


@dataclass
class HonchoServer:
    """Keeps messages by session; `fail_with` answers everything with a status, `is_mute` never answers."""

    key: str = ""
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    representation: str = ""
    card: list[str] = field(default_factory=list)
    answer: str | None = None
    fail_with: int = 0
    drops_after_storing: bool = False
    got_messages: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)
    is_mute: bool = False

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                owner.headers.append(dict(self.headers))
                status, answer = owner.handle(self.command, self.path, body)
                if status == 0:
                    return
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def handle(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, path, body))
        if self.is_mute:
            self._released.wait(60)
            return 0, None
        if self.fail_with:
            return self.fail_with, {"detail": "no"}
        place, _, _ = path.partition("?")
        parts = place.strip("/").split("/")
        if parts[:2] != ["v3", "workspaces"]:
            return 404, {"detail": "unknown"}
        rest = parts[3:]
        if not rest:
            return 200, {"id": (body or {}).get("id", parts[-1]), "created_at": NOW}
        return self._in_workspace(parts[2], rest, body)

    def _in_workspace(self, workspace: str, rest: list[str], body: Any) -> tuple[int, Any]:
        if rest == ["peers"]:
            self.peers.setdefault(body["id"], {})
            return 200, {"id": body["id"], "workspace_id": workspace, "created_at": NOW}
        if rest[0] == "peers" and rest[2] == "context":
            return 200, {
                "peer_id": rest[1],
                "target_id": rest[1],
                "representation": self.representation,
                "peer_card": self.card,
            }
        if rest[0] == "peers" and rest[2] == "chat":
            return 200, {"content": self.answer}
        if rest == ["sessions"]:
            for name, settings in (body.get("peers") or {}).items():
                self.peers[name] = settings
            self.messages.setdefault(body["id"], [])
            return 200, {"id": body["id"], "is_active": True, "workspace_id": workspace, "created_at": NOW}
        if rest[0] == "sessions" and rest[2:] == ["messages"]:
            return self._add(workspace, rest[1], body["messages"])
        if rest[0] == "sessions" and rest[2:] == ["messages", "list"]:
            wanted = (body.get("filters") or {}).get("metadata", {})
            found = [
                item for item in self.messages.get(rest[1], []) if wanted.items() <= item["metadata"].items()
            ]
            page = {"items": found[:1], "total": len(found), "page": 1, "size": 1, "pages": len(found)}
            return 200, page
        return 404, {"detail": "unknown"}

    def _add(self, workspace: str, session: str, messages: list[dict[str, Any]]) -> tuple[int, Any]:
        stored = [
            {
                **message,
                "id": f"m{number}",
                "session_id": session,
                "workspace_id": workspace,
                "metadata": message.get("metadata") or {},
                "token_count": 1,
                "created_at": message.get("created_at") or NOW,
            }
            for number, message in enumerate(messages)
        ]
        self.messages.setdefault(session, []).extend(stored)
        self.got_messages.set()
        return (0, None) if self.drops_after_storing else (200, stored)

    def said(self) -> list[tuple[str, str]]:
        """Everything that was stored: peer and text."""
        return [(item["peer_id"], item["content"]) for items in self.messages.values() for item in items]
