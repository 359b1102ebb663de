"""Servers built with the SDK, over each transport, with every feature of the protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from mcp_bench import Bench, data, sdk

from hermes_agent.config.sections.mcp import McpSamplingSettings, McpServerSettings
from hermes_agent.core.messages import AssistantMessage
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelReply, ModelRequest, Usage
from hermes_agent.core.tool import ToolContext
from hermes_agent.mcp.errors import McpRequestError, McpUnavailableError
from hermes_agent.mcp.manager import McpManager


class Poet:
    """A model that says what it was asked; remembers the requests."""

    info = ModelInfo("test", "poet", "test")

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.requests.append(request)
        text = f"ode to {request.messages[-1].text}"  # type: ignore[union-attr]
        yield ModelReply(AssistantMessage(text), Usage(output_tokens=3), self.info)

    async def aclose(self) -> None:
        pass


async def exercise(bench: Bench, manager: McpManager) -> None:
    """Everything a server can do, whatever the transport."""
    person = bench.person
    names = {tool.definition.name for tool in await manager.discovered()}
    assert {"mcp_s_list_resources", "mcp_s_read_resource", "mcp_s_list_prompts", "mcp_s_get_prompt"} <= names
    assert data(await bench.call(manager, "mcp_s_weather", city="Ulm")) == {"city": "Ulm", "degrees": 21.5}
    picture = await bench.call(manager, "mcp_s_picture")
    assert [image.media_type for image in picture.images] == ["image/png"]
    failed = await bench.call(manager, "mcp_s_fail")
    assert failed.is_error
    assert "fail" in failed.text
    assert (await bench.call(manager, "mcp_s_count", steps=2)).text == "counted"
    assert person.reports[-2:] == ["step 1 (1/2)\n", "step 2 (2/2)\n"]
    listed = (await bench.call(manager, "mcp_s_list_resources")).text
    assert "memo://today" in listed
    assert "note://{name}" in listed
    assert (await bench.call(manager, "mcp_s_read_resource", uri="note://bob")).text == "note bob"
    assert "greet" in (await bench.call(manager, "mcp_s_list_prompts")).text
    prompt = await bench.call(manager, "mcp_s_get_prompt", name="greet", arguments={"name": "Eva"})
    assert "Say hello to Eva" in prompt.text
    assert len((await bench.call(manager, "mcp_s_big", size=3_000_000)).text) == 3_000_000


async def ask_back(bench: Bench, manager: McpManager, poet: Poet) -> None:
    """What servers ask of us."""
    person = bench.person
    person.answers[:] = ["soup", "no", "maybe", "3"]
    assert (await bench.call(manager, "mcp_s_order")).text == (
        "accept {'dish': 'soup', 'spicy': False, 'portions': 3}"
    )
    assert person.questions[1].choices == ("yes", "no")
    person.answers[:] = ["soup", "-", ""]
    assert "'spicy': True, 'portions': 2" in (await bench.call(manager, "mcp_s_order")).text
    person.answers[:] = ["decline"]
    assert (await bench.call(manager, "mcp_s_order")).text.strip() == "decline"
    person.answers[:] = []
    assert (await bench.call(manager, "mcp_s_order")).text.strip() == "decline"
    person.answers[:] = ["accept"]
    assert (await bench.call(manager, "mcp_s_visit")).text == "accept"
    assert "https://example.org/form" in person.questions[-1].text
    assert (
        await bench.call(manager, "mcp_s_poem", topic="tea", max_tokens=90_000)
    ).text == "poet: ode to tea"
    assert poet.requests[-1].max_output_tokens == 4096
    assert poet.requests[-1].system == "You are a poet."
    assert any("asks test:poet for up to 4096 tokens" in line for line in person.reports)
    assert (await bench.call(manager, "mcp_s_roots")).text.startswith("file:///")


async def test_a_program_built_with_the_sdk_can_do_everything(bench: Bench) -> None:
    poet = Poet()
    manager = bench.manager(ports={"model_for": lambda _name: poet}, s=sdk())
    await exercise(bench, manager)
    await ask_back(bench, manager, poet)


async def test_streamable_http_can_do_everything(bench: Bench, remote: Callable[[str], str]) -> None:
    poet = Poet()
    settings = McpServerSettings(url=remote("http"))
    manager = bench.manager(ports={"model_for": lambda _name: poet}, s=settings)
    await exercise(bench, manager)
    assert len((await bench.call(manager, "mcp_s_big", size=10_000_000)).text) == 10_000_000
    await ask_back(bench, manager, poet)


async def test_the_older_sse_transport_is_found_and_can_do_everything(
    bench: Bench, remote: Callable[[str], str]
) -> None:
    poet = Poet()
    manager = bench.manager(ports={"model_for": lambda _name: poet}, s=McpServerSettings(url=remote("sse")))
    await exercise(bench, manager)
    assert len((await bench.call(manager, "mcp_s_big", size=10_000_000)).text) == 10_000_000
    await ask_back(bench, manager, poet)


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_remote_call_that_is_given_up_is_cancelled_at_the_server(
    bench: Bench, remote: Callable[[str], str], transport: str
) -> None:
    manager = bench.manager(s=McpServerSettings(url=remote(transport), timeout=0.5))
    with pytest.raises(McpRequestError, match=r"did not answer within 0.5 s"):
        await bench.call(manager, "mcp_s_wait")
    assert (await bench.call(manager, "mcp_s_cancelled")).text == "1"
    await manager.reload({"s": McpServerSettings(url=manager.connection("s").settings.url)})
    call = asyncio.create_task(bench.call(manager, "mcp_s_wait"))
    async with asyncio.timeout(60):
        while (await bench.call(manager, "mcp_s_waiting")).text != "1":  # noqa: ASYNC110 - the server says when
            await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(60):
        while (await bench.call(manager, "mcp_s_cancelled")).text != "2":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_address_where_nobody_listens_is_a_clear_error(bench: Bench) -> None:
    manager = bench.manager(s=McpServerSettings(url="http://127.0.0.1:9/mcp"))
    with pytest.raises(McpUnavailableError, match="'s' cannot be reached"):
        await manager.connection("s").client()


async def test_a_page_that_is_no_server_is_a_clear_error(bench: Bench, remote: Callable[[str], str]) -> None:
    manager = bench.manager(s=McpServerSettings(url=remote("http") + "/nothing/here", connect_timeout=5))
    await manager.discovered()
    (status,) = manager.statuses()
    assert status.state == "failed"
    assert "HTTP 404" in status.detail


async def test_nobody_is_asked_when_two_sessions_wait_for_one_server(bench: Bench) -> None:
    """The wire does not say whose call a question belongs to."""
    manager = bench.manager(s=sdk())
    tools = {tool.definition.name: tool for tool in await manager.discovered()}
    client = await manager.connection("s").client()
    if client.session.protocol_version >= "2026":
        pytest.skip("this version of the protocol says whose question it is")
    contexts: Sequence[ToolContext] = [bench.person.context("one"), bench.person.context("two")]
    bench.person.answers[:] = ["soup", "", "", "soup", "", ""]
    results = await asyncio.gather(*(tools["mcp_s_order"].run({}, context) for context in contexts))
    assert "decline" in {result.text.strip() for result in results}


def limits(poet: Model, **fields: object) -> dict[str, McpServerSettings]:
    return {"s": sdk(sampling=McpSamplingSettings(**fields))}


@pytest.mark.parametrize(
    ("fields", "calls", "problem"),
    [
        ({"enabled": False}, 1, "not support"),
        ({"max_rpm": 1}, 2, "more than 1 model requests in a minute"),
        ({"model": "big", "allowed_models": ["small"]}, 1, "'big' is not among"),
    ],
)
async def test_sampling_stays_within_its_limits(
    bench: Bench, fields: dict[str, object], calls: int, problem: str
) -> None:
    poet = Poet()
    manager = bench.manager(ports={"model_for": lambda _name: poet}, **limits(poet, **fields))
    for _ in range(calls - 1):
        await bench.call(manager, "mcp_s_poem", topic="tea")
    with pytest.raises(McpRequestError, match=problem):
        await bench.call(manager, "mcp_s_poem", topic="tea")
    assert len(poet.requests) == calls - 1
