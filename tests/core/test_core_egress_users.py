"""One guard for every fetch of a tool: nothing else that tools are made of knows a way out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "hermes_agent"
WAYS_OUT = {
    *("httpx", "httpx2", "aiohttp", "requests", "urllib3"),
    *("http.client", "urllib.request", "ftplib", "socket"),
}
ALLOWED = {
    "tools/egress.py": "the guard's own client",
    "tools/code_relay.py": "a Unix socket inside the place where a script runs",
    "tools/code_stub.py": "its text runs beside the script, over the same socket",
    "environments/docker.py": "the stream of a program, over the engine's own connection",
    "environments/docker_engine.py": "the engine that the settings name",
}
"""Modules of tools and what they stand on that may connect, and to what."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("load"):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value.partition(":")[0]


def test_tools_skills_and_the_agent_fetch_through_the_guard_only() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for layer in ("tools", "skills", "agent", "environments", "core")
        for path in (PACKAGE / layer).rglob("*.py")
        for name in imports(path)
        if any(name == way or name.startswith(f"{way}.") for way in WAYS_OUT)
    }
    found.discard("core/egress.py")  # resolves names, connects to nothing
    assert found <= set(ALLOWED), found - set(ALLOWED)
