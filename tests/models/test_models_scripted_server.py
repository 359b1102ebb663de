"""The scripted server on the wire: broken answers, bad requests, figures, the command that starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes_agent.core.errors import UsageError
from hermes_agent.models.scripted.server import ScriptedServer

StartServer = Callable[..., ScriptedServer]
CHAT = "/v1/chat/completions"
PATHS = (CHAT, "/v1/responses", "/v1/messages")


def body(path: str = CHAT, text: str = "x", **more: Any) -> dict[str, Any]:
    if path.endswith("responses"):
        return {"model": "m", "input": text, **more}
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_a_cut_breaks_the_connection_in_the_middle(
    path: str, model_server: StartServer, http: httpx.Client
) -> None:
    call = {"name": "t", "arguments": {"path": "a.txt"}}
    server = model_server([{"text": "a", "tool_calls": [call], "cut": "tool_call"}] * 2)
    for stream in (True, False):
        seen = b""
        with pytest.raises(httpx.RemoteProtocolError):
            with http.stream("POST", server.url + path, json=body(path, stream=stream)) as response:
                assert response.status_code == 200
                for chunk in response.iter_raw():
                    seen += chunk
        assert stream is False or b"path" in seen
        assert b"a.txt" not in seen
    server.assert_complete()


@pytest.mark.parametrize("path", PATHS)
def test_garbage_is_sent_byte_by_byte(path: str, model_server: StartServer, http: httpx.Client) -> None:
    server = model_server(
        "- {text: [a, b], garbage: {after_events: 1, data: !!binary /wD+}}\n- {garbage: hello}"
    )
    streamed = http.post(server.url + path, json=body(path, stream=True)).content
    assert streamed.endswith(b"\xff\x00\xfe")
    assert streamed.startswith((b"data: ", b"event: "))
    assert http.post(server.url + path, json=body(path)).content == b"hello"


@pytest.mark.parametrize("hang", [True, 1])
@pytest.mark.parametrize("path", PATHS)
def test_a_hang_lasts_until_the_client_goes(
    hang: object, path: str, model_server: StartServer, http: httpx.Client
) -> None:
    server = model_server([{"text": ["a", "b"], "hang": hang}])
    with pytest.raises(httpx.ReadTimeout):
        http.post(server.url + path, json=body(path, stream=True), timeout=0.1)
    server.assert_complete()


def test_delays_pass_before_and_between_pieces(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server([{"text": ["a", "b", "c"], "delay_seconds": 0.05, "chunk_delay_seconds": 0.05}])
    response = http.post(server.url + CHAT, json=body(stream=True))
    assert response.elapsed.total_seconds() >= 0.15
    assert response.text.endswith("data: [DONE]\n\n")


def test_a_client_that_goes_ends_a_slow_answer(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server([{"text": ["a"] * 1000, "chunk_delay_seconds": 0.02}, "next"])
    with http.stream("POST", server.url + CHAT, json=body(stream=True)) as response:
        next(response.iter_lines())
    assert http.post(server.url + CHAT, json=body()).status_code == 200
    deadline = time.monotonic() + 5
    while server.stats()["disconnects"] == 0 and time.monotonic() < deadline:
        http.get(server.url + "/health")
    assert server.stats()["disconnects"] == 1


def test_errors_have_the_written_body_and_headers(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server(
        [
            {"error": {"status": 429, "headers": {"Retry-After": 3, "X-Odd": "é"}, "message": "wait"}},
            {
                "error": {
                    "status": 502,
                    "body": "<html>Bad gateway</html>",
                    "headers": {"content-type": "text/html"},
                }
            },
            {"error": {"status": 400, "body": {"detail": ["{{user}}"]}}},
        ]
    )
    first = http.post(server.url + CHAT, json=body())
    assert (first.status_code, first.headers["retry-after"]) == (429, "3")
    assert first.json()["error"] == {
        "message": "wait",
        "type": "rate_limit_error",
        "param": None,
        "code": None,
    }
    second = http.post(server.url + CHAT, json=body())
    assert (second.text, second.headers["content-type"]) == ("<html>Bad gateway</html>", "text/html")
    assert http.post(server.url + CHAT, json=body(text="hi")).json() == {"detail": ["hi"]}


def test_a_missing_finish_reason_is_null_or_left_out(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server([{"text": "a", "finish_reason": "missing", "times": 2}])
    assert http.post(server.url + CHAT, json=body()).json()["choices"][0]["finish_reason"] is None
    text = http.post(server.url + CHAT, json=body(stream=True)).text
    reasons = [json.loads(line[6:])["choices"][0]["finish_reason"] for line in text.split("\n\n")[:-2]]
    assert set(reasons) == {None}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"model": 7}', b"\xff", b"[" * 100_000,
     b'{"model": "m", "messages": 3, "input": 3, "max_tokens": 9}',
     b'{"model": "m", "messages": [3], "input": [3], "max_tokens": 9}'],
)  # fmt: skip
def test_bad_requests_get_400_and_leave_the_script_alone(
    path: str, content: bytes, model_server: StartServer, http: httpx.Client
) -> None:
    server = model_server(["answer"])
    response = http.post(server.url + path, content=content)
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert http.post(server.url + path, json=body(path)).status_code == 200
    server.assert_complete()


def test_orphaned_tool_results_are_refused_as_providers_do(
    model_server: StartServer, http: httpx.Client
) -> None:
    server = model_server()
    orphans = {
        CHAT: {"model": "m", "messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]},
        "/v1/responses": {
            "model": "m",
            "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}],
        },
        "/v1/messages": {
            "model": "m",
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}
            ],
        },
    }
    for path, content in orphans.items():
        response = http.post(server.url + path, json=content)
        assert response.status_code == 400
        assert "before it" in response.json()["error"]["message"]


def test_expectations_see_headers_and_body(model_server: StartServer, http: httpx.Client) -> None:
    expect = {
        "headers": {"authorization": "^Bearer k$", "x-other": "y"},
        "body": {"temperature": 0, "messages.-1.content": "x", "tools": None, "stop": "never"},
        "stream": False,
    }
    server = model_server([{"text": "a", "expect": expect}])
    http.post(server.url + CHAT, json=body(temperature=0), headers={"Authorization": "Bearer k"})
    assert server.problems == (
        "request 1 (step 1): header x-other does not match 'y'",
        "request 1 (step 1): body stop is absent instead of 'never'",
    )


def test_a_wrong_key_gets_401(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server("{api_key: right, steps: [a, b]}")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
        assert http.post(server.url + CHAT, json=body(), headers=headers).status_code == 401
    assert (
        http.post(server.url + CHAT, json=body(), headers={"Authorization": "Bearer right"}).status_code
        == 200
    )
    assert (
        http.post(server.url + "/v1/messages", json=body(), headers={"x-api-key": "right"}).status_code == 200
    )
    server.assert_complete()


def test_stats_tell_sizes_connections_and_completeness(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server(["a", "b", "c"])
    tool = {
        "type": "function",
        "function": {"name": "t", "description": "d", "parameters": {"type": "object"}},
    }
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}]
    for _ in range(2):
        http.post(server.url + CHAT, json={"model": "m", "messages": messages, "tools": [tool]})
    stats = http.get(server.url + "/stats").json()
    assert (stats["requests"], stats["connections"], stats["complete"]) == (2, 1, False)
    assert stats["unused"] == ["step 3 was used 0 of 1 times"]
    assert stats["last"]["system_chars"] == 8
    assert stats["last"]["tool_names"] == ["t"]
    assert stats["gap_ms"]["count"] == 1
    assert stats["cached_tokens"] == stats["last"]["prompt_tokens"]
    http.post(server.url + "/reset")
    assert http.get(server.url + "/stats").json()["requests"] == 0
    assert http.post(server.url + CHAT, json=body()).json()["choices"][0]["message"]["content"] == "a"
    assert http.get(server.url + "/health").json() == {"status": "ok"}
    assert http.get(server.url + "/v2/nothing").status_code == 404


def test_the_model_named_demo_is_the_demo_model(model_server: StartServer, http: httpx.Client) -> None:
    answer = http.post(model_server().url + CHAT, json={**body(text="help"), "model": "demo"}).json()
    assert "built-in demo model: no AI" in answer["choices"][0]["message"]["content"]


def test_images_and_unusual_text_pass(model_server: StartServer, http: httpx.Client) -> None:
    server = model_server()
    content = [
        {"type": "text", "text": "Grüße \u2028 \x00 😀"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    messages = [{"role": "user", "content": content}]
    reply = http.post(server.url + CHAT, json={"model": "echo", "messages": messages}).json()
    assert reply["choices"][0]["message"]["content"] == content[0]["text"]
    text = http.post(server.url + CHAT, json={"model": "echo", "messages": messages, "stream": True}).text
    assert json.loads(text.split("\n\n")[1][6:])["choices"][0]["delta"]["content"] == content[0]["text"]


def test_a_port_in_use_is_a_clear_error(model_server: StartServer) -> None:
    with pytest.raises(UsageError, match=r"Cannot listen on 127\.0\.0\.1 port"):
        ScriptedServer(port=model_server().port)


class Command:
    """`hermes dev model-server` as a process."""

    def __init__(self, home: Path, *arguments: str) -> None:
        environment = {**os.environ, "HERMES_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hermes_agent", "dev", "model-server", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_ends_cleanly(
    number: int, tmp_path: Path, http: httpx.Client
) -> None:
    command = Command(tmp_path, "--json")
    ready = json.loads(command.first_line())
    assert ready["event"] == "ready"
    assert http.get(f"{ready['base_url']}/models").json()["data"][0]["id"] == "echo"
    assert command.end(number) == (0, "", "")


def test_the_command_says_how_to_use_it(tmp_path: Path) -> None:
    command = Command(tmp_path)
    line = command.first_line()
    assert line.startswith("Model server at http://127.0.0.1:")
    assert "hermes --provider" in line
    assert command.end(signal.SIGINT) == (0, "", "")


def test_once_ends_after_the_last_step(tmp_path: Path, http: httpx.Client) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- text: hello\n- text: bye\n  expect: {user: never}\n")
    command = Command(tmp_path, "--script", str(script), "--once", "--json")
    url = json.loads(command.first_line())["url"]
    for _ in range(2):
        assert http.post(url + CHAT, json=body()).status_code == 200
    code, _, err = command.end()
    assert code == 1
    assert err == "Not as written: request 2 (step 2): the user message 'x' does not match 'never'\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--script", "broken.yaml"], 3, "broken.yaml:2:3: 1: unknown key 'texd'"),
        (["--script", "missing.yaml"], 3, "Cannot read the script missing.yaml"),
        (["--host", "0.0.0.0"], 2, "--allow-remote"),
        (["--host", "example.org"], 2, "can be reached from other machines"),
        (["--port", "99999"], 2, "99999"),
    ],
)
def test_mistakes_are_told_in_short_lines(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.yaml").write_text("-\n  texd: x\n")
    monkeypatch.chdir(tmp_path)
    found, out, err = Command(tmp_path, *arguments).end()
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""
