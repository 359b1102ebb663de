"""What an MCP call costs over the bare SDK, and what is left after many calls and reconnects, as JSON.

    .venv/bin/python scripts/benchmarks/mcp_calls.py [--calls 10000] [--reconnects 1000]

A process of its own, because its memory is measured. Starts a small stdio server of the tests; nothing
leaves this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.tool import SessionScope, Tool, ToolContext
from hermes_agent.environments.guard import Guard
from hermes_agent.environments.process_table import session_processes
from hermes_agent.mcp.manager import McpManager
from hermes_agent.mcp.ports import McpPorts

SERVER = Path(__file__).resolve().parents[2] / "tests" / "mcp" / "servers" / "raw_server.py"
ARGUMENTS = ["-I", str(SERVER)]


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> int:
    found = session_processes(os.getpid())
    return len(found - {os.getpid()})


async def bare(rounds: int) -> list[float]:
    """Milliseconds per call of the SDK alone."""
    times = []
    parameters = StdioServerParameters(command=sys.executable, args=ARGUMENTS)
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        await session.list_tools()
        for number in range(rounds):
            started = time.perf_counter()
            await session.call_tool("echo", {"text": str(number)})
            times.append((time.perf_counter() - started) * 1000)
    return times


async def ours(tool: Tool, context: ToolContext, rounds: int) -> list[float]:
    """Milliseconds per call through the manager."""
    times = []
    for number in range(rounds):
        started = time.perf_counter()
        result = await tool.run({"text": str(number)}, context)
        times.append((time.perf_counter() - started) * 1000)
        assert result.text == str(number)
    return times


def state() -> tuple[int, int, int, int]:
    """Processes, descriptors, tasks, resident KiB."""
    gc.collect()
    return children(), descriptors(), len(asyncio.all_tasks()), resident_kib()


async def measure(calls: int, reconnects: int) -> dict[str, Any]:
    bare_median = statistics.median(await bare(1000))
    with tempfile.TemporaryDirectory() as folder:
        guard = Guard()
        ports = McpPorts(Path(folder), dict(os.environ), Path(folder), guard=guard, family=session_processes)
        server = McpServerSettings(command=sys.executable, args=ARGUMENTS)
        manager = McpManager({"raw": server}, ports, on_close=guard.close)
        tools = {tool.definition.name: tool for tool in await manager.discovered()}
        context = ToolContext(SessionScope("bench", None))  # type: ignore[arg-type]
        tool = tools["mcp_raw_echo"]
        await ours(tool, context, 1000)
        median = statistics.median(await ours(tool, context, 1000))
        before = state()
        await ours(tool, context, calls)
        after_calls = state()
        # The first few hundred fill the interpreter's tables and the allocator's pools.
        await reconnect(manager, tool, context, min(300, reconnects))
        warm = state()
        await reconnect(manager, tool, context, reconnects)
        after_reconnects = state()
        await manager.aclose()
    return {
        "call_ms": median,
        "bare_call_ms": bare_median,
        "calls": [before, after_calls],
        "reconnects": [warm, after_reconnects],
    }


async def reconnect(manager: McpManager, tool: Tool, context: ToolContext, rounds: int) -> None:
    """Leave the server and make a call, which starts it again."""
    for _ in range(rounds):
        manager.connection("raw").reconnect()
        await ours(tool, context, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--reconnects", type=int, default=1_000)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.calls, options.reconnects))))


if __name__ == "__main__":
    main()
