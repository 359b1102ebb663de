"""A server built with the SDK that uses every feature: `sdk_server.py stdio|http|sse [port]`."""

import sys
from typing import Any

import anyio
import mcp_types as types
from mcp.server.mcpserver import Context, Image, MCPServer
from pydantic import BaseModel

server = MCPServer("sdk", instructions="Be kind.")


class Wishes(BaseModel):
    dish: str
    spicy: bool = True
    portions: int = 2


class Weather(BaseModel):
    city: str
    degrees: float


@server.tool()
async def order(ctx: Context) -> str:
    """Ask what to cook."""
    result = await ctx.elicit("What shall I cook?", Wishes)
    return f"{result.action} {result.data.model_dump() if result.action == 'accept' else ''}"


@server.tool()
async def visit(ctx: Context) -> str:
    """Ask to open a page."""
    result = await ctx.elicit_url("Please sign the form", "https://example.org/form", "e1")
    return str(result.action)


@server.tool()
async def poem(topic: str, ctx: Context, max_tokens: int = 100) -> str:
    """Let the client's model write a poem."""
    result = await ctx.session.create_message(
        messages=[types.SamplingMessage(role="user", content=types.TextContent(type="text", text=topic))],
        max_tokens=max_tokens,
        system_prompt="You are a poet.",
    )
    return f"{result.model}: {result.content.text}"


@server.tool()
async def roots(ctx: Context) -> str:
    """List the client's roots."""
    found = await ctx.session.list_roots()
    return " ".join(str(root.uri) for root in found.roots)


@server.tool()
async def count(steps: int, ctx: Context) -> str:
    """Count with progress."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "counted"


@server.tool()
def weather(city: str) -> Weather:
    """Structured content."""
    return Weather(city=city, degrees=21.5)


@server.tool()
def picture() -> Image:
    """A small image."""
    return Image(data=b"\x89PNG\r\n\x1a\n" + b"0" * 20, format="png")


@server.tool()
def big(size: int) -> str:
    """A large result."""
    return "y" * size


counts = {"waiting": 0, "cancelled": 0, "meeting": 0}
both = anyio.Event()


@server.tool()
async def wait() -> str:
    """Never ends by itself."""
    counts["waiting"] += 1
    try:
        await anyio.Event().wait()
    except anyio.get_cancelled_exc_class():
        counts["cancelled"] += 1
        raise
    finally:
        counts["waiting"] -= 1
    return ""


@server.tool()
async def meet(seconds: float) -> str:
    """Wait for a second call at the same time."""
    counts["meeting"] += 1
    if counts["meeting"] == 2:
        both.set()
    with anyio.move_on_after(seconds):
        await both.wait()
        return "met"
    counts["meeting"] -= 1
    return "alone"


@server.tool()
def waiting() -> str:
    """How many calls of `wait` go on."""
    return str(counts["waiting"])


@server.tool()
def cancelled() -> str:
    """How many calls of `wait` were cancelled."""
    return str(counts["cancelled"])


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("on purpose")


@server.tool()
def wrong() -> dict[str, Any]:
    """Nothing special."""
    return {"answer": 42}


@server.resource("memo://today")
def memo() -> str:
    """Today's memo."""
    return "buy milk"


@server.resource("note://{name}")
def note(name: str) -> str:
    """A note."""
    return f"note {name}"


@server.prompt()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Say hello to {name}"


if __name__ == "__main__":
    transport, *rest = sys.argv[1:]
    if transport == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http" if transport == "http" else "sse", host="127.0.0.1", port=int(rest[0]))
