"""Finding model servers on this machine: Ollama, LM Studio, llama.cpp, vLLM on their usual ports.

Asks 127.0.0.1 only, all ports at once, and gives up after a fraction of a second. Something else that
listens there (a web application on 8080, say) is recognised as such and not offered. Called only when
nothing is set up yet or a person looks for a model.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from hermes_agent.models.catalogue import PROVIDERS

ServerKind: TypeAlias = Literal["ollama", "lmstudio", "llamacpp", "vllm", "openai-compatible"]

HOST = "127.0.0.1"
USUAL_PORTS: tuple[int, ...] = (11434, 1234, 8080, 8000)
"""Ollama, LM Studio, llama.cpp, vLLM."""
TIMEOUT_SECONDS = 0.3
MAX_BODY_BYTES = 1_000_000
MAX_MODELS = 500
MAX_NAME_CHARS = 300
NAMES: Mapping[ServerKind, str] = {
    "ollama": "Ollama",
    "lmstudio": "LM Studio",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    "openai-compatible": "OpenAI-compatible server",
}


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A model server that answered.

    Attributes:
        kind: Which product; `openai-compatible` if it does not say.
        base_url: Its OpenAI-compatible endpoint, ending in `/v1`.
        models: Names of its chat models, as it lists them; may be empty (Ollama without models).
        context_windows: Tokens by model name, as far as the server tells.
    """

    kind: ServerKind
    base_url: str
    models: tuple[str, ...] = ()
    context_windows: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The product's name, for people."""
        return NAMES[self.kind]

    @property
    def provider(self) -> str:
        """The provider whose usual address this is, whatever product it turned out to be; else `custom`."""
        local = (each for each in PROVIDERS if each.is_local and each.base_url == self.base_url)
        return next((each.id for each in local), "custom")


@dataclass(frozen=True, slots=True)
class _Reply:
    server: str
    value: Mapping[str, Any]


async def discover(
    ports: Sequence[int] = USUAL_PORTS,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    include_empty: bool = False,
) -> tuple[LocalServer, ...]:
    """Look for model servers on 127.0.0.1, in the order of `ports`. Never fails, never takes longer.

    Args:
        ports: Where to look.
        timeout_seconds: For everything together.
        include_empty: Also give servers that have no model (yet), such as a fresh Ollama.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    found = await asyncio.gather(*(_look(port, deadline) for port in dict.fromkeys(ports)))
    return tuple(server for server in found if server is not None and (server.models or include_empty))


async def _look(port: int, deadline: float) -> LocalServer | None:
    reply = await _get(port, "/v1/models", deadline)
    listed = _entries(reply, "data") if reply is not None else None
    if reply is None or listed is None:
        return None
    names = [name for entry in listed if (name := _name(entry, "id"))]
    kind = _kind(reply, listed)
    windows: dict[str, int] = {}
    for entry in listed:
        _note_window(windows, _name(entry, "id"), entry.get("max_model_len"), entry.get("context_length"))
    if kind in (None, "ollama"):
        # Ollama and LM Studio look alike in /v1/models; each has an address that only it answers.
        ollama, studio = await asyncio.gather(
            _get(port, "/api/tags", deadline), _get(port, "/api/v0/models", deadline)
        )
        tags, described = _entries(ollama, "models"), _entries(studio, "data")
        if tags is not None:
            kind, names = "ollama", [name for entry in tags if (name := _name(entry, "name"))] or names
        elif described is not None and any("state" in entry or "arch" in entry for entry in described):
            kind = "lmstudio"
            names = _chat_models(described, windows) or names
    if kind == "llamacpp":
        await _llamacpp_window(port, deadline, names, windows)
    if kind is None and not names:
        return None
    models = tuple(dict.fromkeys(names))[:MAX_MODELS]
    return LocalServer(kind or "openai-compatible", f"http://{HOST}:{port}/v1", models, windows)


def _kind(reply: _Reply, listed: Sequence[Mapping[str, Any]]) -> ServerKind | None:
    """Which product it is, if the list itself tells."""
    owners = {str(entry.get("owned_by", "")).lower() for entry in listed}
    if "llamacpp" in owners or "llama.cpp" in reply.server.lower():
        return "llamacpp"
    if "vllm" in owners:
        return "vllm"
    if owners == {"library"}:
        return "ollama"
    return None


def _chat_models(described: Sequence[Mapping[str, Any]], windows: dict[str, int]) -> list[str]:
    names = []
    for entry in described:
        name = _name(entry, "id")
        if not name or entry.get("type") in ("embeddings", "embedding"):
            continue
        names.append(name)
        _note_window(windows, name, entry.get("loaded_context_length"), entry.get("max_context_length"))
    return names


async def _llamacpp_window(port: int, deadline: float, names: Sequence[str], windows: dict[str, int]) -> None:
    """llama.cpp tells the window it was started with in /props (the list has only the trained one)."""
    props = await _get(port, "/props", deadline)
    settings = props.value.get("default_generation_settings") if props else None
    if isinstance(settings, dict) and len(names) == 1:
        _note_window(windows, names[0], settings.get("n_ctx"))


def _note_window(windows: dict[str, int], name: str, *values: object) -> None:
    for value in values:
        if name and isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000_000:
            windows[name] = value
            return


def _name(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    is_name = isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()
    return value if is_name and isinstance(value, str) else ""


def _entries(reply: _Reply | None, key: str) -> list[Mapping[str, Any]] | None:
    """The list of objects under a key; None if the reply is something else."""
    if reply is None:
        return None
    value = reply.value.get(key)
    if value is None and key in reply.value and reply.value.get("object") == "list":
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return None
    if key == "data" and not (reply.value.get("object") == "list" or any("id" in entry for entry in value)):
        return None
    return value


async def _get(port: int, path: str, deadline: float) -> _Reply | None:
    """A JSON object from 127.0.0.1, or None for anything else: refused, late, too long, not JSON."""
    try:
        async with asyncio.timeout_at(deadline):
            raw = await _exchange(port, path)
    except (OSError, TimeoutError, ValueError):
        return None
    return _understand(raw)


async def _exchange(port: int, path: str) -> bytes:
    """Send a request and read until the server closes or enough has come."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}:{port}",
            "Accept: application/json",
            "Connection: close",
        )
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        raw = bytearray()
        while len(raw) <= MAX_BODY_BYTES and not _is_whole(raw):
            chunk = await reader.read(65_536)
            if not chunk:
                break
            raw += chunk
        return bytes(raw)
    finally:
        writer.transport.abort()


def _is_whole(raw: bytearray) -> bool:
    """Whether the announced length has arrived, for servers that do not close."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in bytes(head).lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
        if name == b"transfer-encoding" and b"chunked" in value:
            return body.endswith(b"0\r\n\r\n")
    return False


class _Received:
    """Bytes that already arrived, as the socket that `http.client` wants to read."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_arguments: object) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _understand(raw: bytes) -> _Reply | None:
    if len(raw) > MAX_BODY_BYTES:
        return None
    response = http.client.HTTPResponse(_Received(raw))  # type: ignore[arg-type]
    try:
        response.begin()
        if response.status != 200:
            return None
        value = json.loads(response.read())
    except (http.client.HTTPException, ValueError, RecursionError, OSError):
        return None
    finally:
        response.close()
    if not isinstance(value, dict):
        return None
    return _Reply(response.getheader("Server") or "", value)
