"""The server itself: key, address, headers, limits, what it says of itself."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from api_serving import KEY, StartApi, make_app, serving, until

from hermes_agent.api.access import Key, check_key, is_loopback, weakness
from hermes_agent.api.answer import TextFlow
from hermes_agent.api.errors import ApiError
from hermes_agent.api.side_requests import is_side_request
from hermes_agent.api.wire import fitting
from hermes_agent.app.api import make_service
from hermes_agent.app.gateway import GatewayProcess
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, HermesError

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


async def test_without_the_key_nothing_is_told(start_api: StartApi) -> None:
    api = await start_api(["never"])
    async with httpx.AsyncClient(base_url=api.url) as stranger:
        for method, path in (
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/health/detailed"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/no-such-page"),
            ("PATCH", "/v1/runs"),
        ):
            for given in (None, "Bearer wrong", f"Basic {KEY}", "Bearer", ""):
                headers = {} if given is None else {"Authorization": given}
                response = await stranger.request(method, path, headers=headers)
                assert response.status_code == 401, (method, path, given)
                assert response.json()["error"]["type"] == "authentication_error"


async def test_health_needs_no_key_and_says_little(start_api: StartApi) -> None:
    api = await start_api(["never"])
    async with httpx.AsyncClient(base_url=api.url) as stranger:
        for path in ("/health", "/v1/health"):
            assert (await stranger.get(path)).json() == {"status": "ok"}


async def test_the_key_may_come_as_x_api_key(start_api: StartApi) -> None:
    api = await start_api(["never"])
    async with httpx.AsyncClient(base_url=api.url, headers={"X-Api-Key": KEY}) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_the_server_describes_itself(start_api: StartApi) -> None:
    api = await start_api(["ok"], api_server={"model_name": "ada", "metrics": True})
    models = (await api.client.get("/v1/models")).json()
    assert [model["id"] for model in models["data"]] == ["ada"]
    assert (await api.client.get("/v1/models/ada")).json()["id"] == "ada"
    assert (await api.client.get("/v1/models/bob")).status_code == 404
    health = (await api.client.get("/health/detailed")).json()
    assert health["status"] == "ok"
    assert health["model"]["model"] == "echo"
    able = (await api.client.get("/v1/capabilities")).json()
    assert "POST /v1/chat/completions" in able["endpoints"]
    assert able["features"]["run_approval"] is True
    toolsets = (await api.client.get("/v1/toolsets")).json()["data"]
    assert {"name": "file", "enabled": True}.items() <= next(
        each for each in toolsets if each["name"] == "file"
    ).items()
    folder = api.app.home.skills / "cooking"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: cooking\ndescription: Makes soup\n---\nText\n")
    skills = (await api.client.get("/v1/skills")).json()["data"]
    cooking = next(skill for skill in skills if skill["name"] == "cooking")
    assert cooking["description"] == "Makes soup"
    await api.chat("hi")
    metrics = (await api.client.get("/metrics")).text
    assert 'hermes_runs_total{outcome="completed"} 1' in metrics
    assert 'hermes_api_requests_total{route="/v1/chat/completions",status="200"} 1' in metrics


async def test_metrics_are_off_unless_asked_for(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    assert (await api.client.get("/metrics")).status_code == 404


async def test_wrong_paths_and_methods_are_errors_of_the_usual_form(start_api: StartApi) -> None:
    api = await start_api(["never"])
    missing = await api.client.get("/v1/embeddings")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_path")
    wrong = await api.client.put("/v1/models")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_every_answer_has_security_headers(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    for response in (await api.client.get("/health"), await api.chat("x"), await api.client.get("/nothing")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


async def test_other_origins_are_told_nothing_by_default(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    origin = {"Origin": "https://evil.example"}
    preflight = await api.client.options("/v1/chat/completions", headers=origin)
    assert preflight.status_code == 403
    response = await api.chat("x", headers=origin)
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_listed_origins_may_call(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]}, api_server={"cors_origins": ["https://ui.example"]})
    good, bad = {"Origin": "https://ui.example"}, {"Origin": "https://evil.example"}
    async with httpx.AsyncClient(base_url=api.url) as browser:
        preflight = await browser.options("/v1/chat/completions", headers=good)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://ui.example"
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert (await browser.options("/v1/chat/completions", headers=bad)).status_code == 403
    answered = await api.chat("x", headers=good)
    assert answered.headers["access-control-allow-origin"] == "https://ui.example"
    assert "access-control-allow-credentials" not in answered.headers
    refused = await api.chat("x", headers=bad)
    assert "access-control-allow-origin" not in refused.headers


async def test_bodies_above_ten_megabytes_are_refused(start_api: StartApi) -> None:
    api = await start_api(["never"])
    large = b" " * (10 * 1024 * 1024 + 1)

    async def pieces() -> Any:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    declared = await api.client.post("/v1/chat/completions", content=large)
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "body_too_large")
    chunked = await api.client.post("/v1/chat/completions", content=pieces())
    assert chunked.status_code == 413
    almost = {"messages": [{"role": "user", "content": ""}], "x": "y" * 9_000_000}
    assert (await api.post("/v1/chat/completions", almost)).status_code == 400


async def test_garbage_instead_of_http_hurts_nobody(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    port = int(api.url.rpartition(":")[2])
    for garbage in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    assert (await api.chat("still there?")).status_code == 200


async def test_a_taken_port_is_a_clear_error(home: Home, start_api: StartApi) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HermesError, match=f"Port {port} on 127.0.0.1 is taken") as caught:
            await start_api(["x"], api_server={"port": port})
    assert "API_SERVER_PORT" in (caught.value.remedy or "")


async def test_an_address_of_another_machine_is_a_clear_error(start_api: StartApi) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        await start_api(["x"], api_server={"host": "192.0.2.1"})


async def test_without_a_key_it_does_not_start(start_api: StartApi) -> None:
    with pytest.raises(ConfigError, match="needs a key") as caught:
        await start_api(["x"], api_server={"key": "", "enabled": True})
    assert "API_SERVER_KEY" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "key",
    ["short", "changeme", "your-api-key-here", "sk-xxxxxxxxxxxx", "aaaaaaaaaaaa", "<your key>", "12345678"],
)
def test_weak_keys_are_refused_on_public_addresses_only(key: str) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="too weak"):
            check_key(key, host)
    assert "weak" in (check_key(key, "127.0.0.1") or "")


@pytest.mark.parametrize("key", ["3f9a7c2e81d05b36", "correct horse battery staple", "hermes-9f8e7d6c5b4a"])
def test_strong_keys_are_taken_everywhere(key: str) -> None:
    assert weakness(key) is None
    assert check_key(key, "0.0.0.0") is None


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", ""]))


def test_keys_with_any_characters_are_compared_without_failing() -> None:
    key = Key("schlüssel")
    for given in ("schlussel", "\udcff", "é", "schlüssel"[:-1]):
        with pytest.raises(ApiError):
            key.check({"authorization": f"Bearer {given}"})
    assert key.check({"authorization": "bearer  schlüssel "}) == key.owner


@pytest.mark.parametrize(
    ("section", "is_made"),
    [
        ({"key": KEY}, True),
        ({"key": ""}, False),
        ({"key": KEY, "enabled": False}, False),
        ({"enabled": True}, True),
    ],
)
async def test_a_key_alone_switches_it_on(
    home: Home, tmp_path: Any, section: dict[str, Any], is_made: bool
) -> None:
    app = make_app(home, "http://127.0.0.1:9/v1", tmp_path, api_server={"key": "", **section})
    assert (await make_service(GatewayProcess(app)) is not None) is is_made


async def test_draining_refuses_new_runs_and_finishes_the_others(
    home: Home, tmp_path: Any, model_server: Any
) -> None:
    url = model_server({"rules": [{"text": "done", "delay_seconds": 0.5}]}).base_url
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        serving(make_app(home, url, tmp_path)) as server,
        httpx.AsyncClient(base_url=server.address, headers=headers) as client,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: server.health().active == 1)
        draining = asyncio.create_task(server.drain())
        await until(lambda: server.application.runs.is_draining)
        refused = await client.post("/v1/chat/completions", json=CHAT)
        assert refused.status_code == 503
        await asyncio.wait_for(draining, 60)
        assert (await first).json()["choices"][0]["message"]["content"] == "done"


@pytest.mark.parametrize(
    "text",
    [
        "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history",
        "### Task:\nSuggest 3-5 relevant follow-up questions or prompts",
        "### Task:\nAnalyze the chat history to determine the necessity of generating search queries",
        "Provide a concise, 5-word-or-less title for the conversation, using title case conventions.",
        "Please generate a concise, 5-word-or-less title for the conversation, using its same language",
        "Please generate a four to five word title summarizing it without any lead-in, punctuation",
        "使用四到五个字直接返回这句话的简要主题，不要解释",
        "Based on the chat history, give this conversation a name.\nKeep it short",
    ],
)
def test_side_requests_are_recognised(text: str) -> None:
    assert is_side_request(text)


@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "Generate a report",
        "Write a title page for my thesis and save it as title.tex",
        "### Task:\nFix the build of this project",
        "Summarize this conversation in the file notes.md",
        "Generate a short script that prints the title of a web page",
        "Suggest 3-5 relevant papers",
    ],
)
def test_people_are_not_taken_for_front_ends(text: str) -> None:
    assert not is_side_request(text)


def test_a_different_second_try_is_shown_whole() -> None:
    flow = TextFlow()
    flow.start_turn()
    assert flow.add("Hello wor") == "Hello wor"
    flow.restart_turn()
    assert flow.add("Hel") == ""
    assert flow.add("p is near") == "\n\nHelp is near"
    flow.start_turn()
    assert flow.add("Next") == "\n\nNext"


def test_large_values_are_cut_to_fit() -> None:
    value = {"type": "x", "texts": ["é" * 100_000, "short"], "numbers": list(range(100_000))}
    text = fitting(value, 60_000)
    assert len(text.encode()) <= 60_000
    assert "short" in text
    assert value["texts"][0] == "é" * 100_000
