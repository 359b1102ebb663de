"""The server with clients that others wrote: openai (Python and Node), llm, curl."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from api_serving import KEY, Api, StartApi

TOOL_ROUND = [
    {"text": "Let me look.", "tool_calls": [{"name": "terminal", "arguments": {"command": "echo found-it"}}]},
    {"text": "It is there."},
]
ANSWER = "Let me look.\n\nIt is there."

_TO_REGISTRIES = (
    "SSL_",
    "UV_",
    "PIP_",
    "NODE_",
    "npm_",
    "REQUESTS_",
    "HTTP_",
    "HTTPS_",
    "http",
    "NO_",
    "no_",
)
"""Variables that say how packages are fetched here."""

NODE = """
import OpenAI from 'openai';
const client = new OpenAI({ baseURL: process.env.URL + '/v1', apiKey: process.env.KEY, maxRetries: 0 });
const messages = [{ role: 'user', content: 'look' }];
const out = {};
const stream = await client.chat.completions.create({ model: 'hermes-agent', messages, stream: true });
out.streamed = '';
for await (const chunk of stream) out.streamed += chunk.choices[0]?.delta?.content ?? '';
const whole = await client.chat.completions.create({ model: 'hermes-agent', messages });
out.whole = whole.choices[0].message.content;
out.usage = whole.usage.total_tokens;
const response = await client.responses.create({ model: 'hermes-agent', input: 'look' });
out.response = response.output_text;
const events = await client.responses.create({ model: 'hermes-agent', input: 'look', stream: true });
out.events = [];
for await (const event of events) out.events.push(event.type);
out.got = (await client.responses.retrieve(response.id)).id === response.id;
try {
  await client.chat.completions.create({ model: 'hermes-agent', messages: [] });
} catch (error) {
  out.error = [error.status, error.param];
}
console.log(JSON.stringify(out));
"""


def rounds() -> dict[str, Any]:
    """Every question gets one round of tools, then an answer."""
    return {"rules": [{"when": {"after": "tool"}, **TOOL_ROUND[1]}, TOOL_ROUND[0]]}


async def finish(*command: str, timeout: float = 60, cwd: Path | None = None, **env: str) -> str:
    """Run a command beside the server; its standard output."""

    def run() -> subprocess.CompletedProcess[str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "LANG", "HOME") or name.startswith(_TO_REGISTRIES)
        }
        return subprocess.run(
            command,
            env={**kept, **env},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def python_client(api: Api) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key=KEY, max_retries=0)


async def test_openai_for_python_completes_and_streams_chats(start_api: StartApi) -> None:
    api = await start_api(rounds())
    async with python_client(api) as client:
        messages: Any = [{"role": "user", "content": "look"}]
        whole = await client.chat.completions.create(model="hermes-agent", messages=messages)
        assert whole.choices[0].message.content == ANSWER
        assert whole.usage is not None and whole.usage.total_tokens > 0
        chunks = await client.chat.completions.create(
            model="hermes-agent", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        text, reasons, usages = "", [], []
        async for chunk in chunks:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons.append(choice.finish_reason)
            usages.append(chunk.usage)
        assert text == ANSWER
        assert [reason for reason in reasons if reason] == ["stop"]
        assert len([usage for usage in usages if usage]) == 1
        assert [model.id async for model in client.models.list()] == ["hermes-agent"]


async def test_openai_for_python_ignores_progress_events(start_api: StartApi) -> None:
    api = await start_api(rounds())
    async with python_client(api) as client:
        messages: Any = [{"role": "user", "content": "look"}]
        chunks = await client.chat.completions.create(
            model="hermes-agent",
            messages=messages,
            stream=True,
            extra_headers={"X-Hermes-Events": "tools"},
        )
        text = ""
        async for chunk in chunks:
            text += "".join(choice.delta.content or "" for choice in chunk.choices or [])
        assert text == ANSWER


async def test_openai_for_python_makes_responses(start_api: StartApi) -> None:
    api = await start_api(rounds())
    async with python_client(api) as client:
        first = await client.responses.create(model="hermes-agent", input="look", instructions="Be brief.")
        assert first.output_text == "Let me look.It is there."
        assert first.usage is not None and first.usage.total_tokens > 0
        second = await client.responses.create(
            model="hermes-agent", input="again", previous_response_id=first.id
        )
        assert (await client.responses.retrieve(second.id)).output_text == second.output_text
        async with client.responses.stream(model="hermes-agent", input="look") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        assert final.output_text == "Let me look.It is there."
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)


async def test_openai_for_python_polls_background_responses(start_api: StartApi) -> None:
    api = await start_api(rounds())
    async with python_client(api) as client:
        response = await client.responses.create(model="hermes-agent", input="look", background=True)
        async with asyncio.timeout(60):
            while response.status in ("queued", "in_progress"):
                response = await client.responses.retrieve(response.id)
        assert response.output_text == "Let me look.It is there."


async def test_openai_for_python_raises_what_fits(start_api: StartApi) -> None:
    api = await start_api([{"error": {"status": 429}}, {"text": "half an ans", "chunk_size": 3, "cut": 2}])
    messages: Any = [{"role": "user", "content": "x"}]
    async with python_client(api) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="m", messages=[])
        assert bad.value.param == "messages"
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="m", messages=messages)
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(model="m", messages=messages, stream=True):
                pass
    async with openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def test_curl_completes_and_streams(start_api: StartApi) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    api = await start_api(rounds())
    body = {"messages": [{"role": "user", "content": "look"}]}
    common = (
        "curl",
        "-sS",
        "-N",
        "-H",
        f"Authorization: Bearer {KEY}",
        f"{api.url}/v1/chat/completions",
        "-d",
    )
    whole = json.loads(await finish(*common, json.dumps(body)))
    assert whole["choices"][0]["message"]["content"] == ANSWER
    streamed = await finish(*common, json.dumps({**body, "stream": True}))
    assert streamed.endswith("data: [DONE]\n\n")


@pytest.mark.system
async def test_openai_for_node_works(start_api: StartApi, tmp_path: Path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    try:
        await finish("npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "openai", cwd=tmp_path)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the openai package cannot be had from npm: {str(error)[:200]}")
    (tmp_path / "ask.mjs").write_text(NODE)
    api = await start_api(rounds())
    out = json.loads(await finish("node", "ask.mjs", cwd=tmp_path, URL=api.url, KEY=KEY))
    assert out["streamed"] == out["whole"] == ANSWER
    assert out["usage"] > 0
    assert out["response"] == "Let me look.It is there."
    assert out["events"][-1] == "response.completed"
    assert out["got"] is True
    assert out["error"] == [400, "messages"]


@pytest.mark.system
async def test_the_llm_command_works(start_api: StartApi, tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    try:
        await finish(uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "env"))
        python = str(tmp_path / "env" / "bin" / "python")
        await finish(uv, "pip", "install", "-q", "--python", python, "llm", timeout=120)
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"llm cannot be had from PyPI: {str(error)[:200]}")
    api = await start_api(rounds())
    user = tmp_path / "llm"
    user.mkdir()
    (user / "extra-openai-models.yaml").write_text(
        f"- model_id: hermes\n  model_name: hermes-agent\n  api_base: {api.url}/v1\n  api_key_name: hermes\n"
    )
    (user / "keys.json").write_text(json.dumps({"hermes": KEY}))
    llm = str(tmp_path / "env" / "bin" / "llm")
    streamed = await finish(llm, "-m", "hermes", "look", LLM_USER_PATH=str(user))
    assert streamed.strip() == ANSWER
    whole = await finish(llm, "-m", "hermes", "--no-stream", "look", LLM_USER_PATH=str(user))
    assert whole.strip() == ANSWER
    further = await finish(llm, "-c", "and now?", LLM_USER_PATH=str(user))
    assert further.strip() == ANSWER
