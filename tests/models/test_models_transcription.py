"""Speech to text: services with OpenAI's protocol on this machine, commands."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hermes_agent.config.sections.speech import SpeechToTextSettings
from hermes_agent.core.errors import ToolError
from hermes_agent.core.speech import Recording
from hermes_agent.models.transcription import make_transcriber


class SpeechServer:
    """Answers every request with `status` and `body`; remembers what came."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"text": " buy milk \\n"}'
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.keys: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.paths.append(self.path)
                outer.keys.append(self.headers.get("authorization", ""))
                outer.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)


@pytest.fixture
def speech() -> Iterator[SpeechServer]:
    made = SpeechServer()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join(5)


@pytest.fixture
def memo(tmp_path: Path) -> Recording:
    path = tmp_path / "memo.ogg"
    path.write_bytes(b"OggS data")
    return Recording(str(path), "memo.ogg")


def settings(**values: object) -> SpeechToTextSettings:
    return SpeechToTextSettings.model_validate(values)


async def test_a_service_gets_the_file_and_gives_the_text(speech: SpeechServer, memo: Recording) -> None:
    chosen = settings(provider="openai", base_url=speech.base_url, language="de")
    listener = make_transcriber(chosen, {"OPENAI_API_KEY": "sk-test-key"}.get)
    assert listener is not None
    assert await listener.transcribe(memo) == "buy milk"
    assert speech.paths == ["/v1/audio/transcriptions"]
    assert speech.keys == ["Bearer sk-test-key"]
    (body,) = speech.bodies
    assert b'filename="memo.ogg"' in body
    assert b"OggS data" in body
    assert b"gpt-4o-mini-transcribe" in body
    assert b'name="language"\r\n\r\nde' in body


async def test_a_server_of_your_own_needs_no_key(speech: SpeechServer, memo: Recording) -> None:
    chosen = settings(provider="custom", base_url=speech.base_url + "/", model="my-whisper")
    listener = make_transcriber(chosen, {}.get)
    assert listener is not None
    assert await listener.transcribe(memo) == "buy milk"
    assert speech.keys == [""]
    assert b"my-whisper" in speech.bodies[0]


@pytest.mark.parametrize(
    ("chosen", "variables"),
    [
        ({}, {"OPENAI_API_KEY": "sk-x"}),  # `local`, and faster-whisper is not installed
        ({"provider": "openai"}, {}),
        ({"provider": "custom"}, {}),
        ({"provider": "nobody"}, {"OPENAI_API_KEY": "sk-x"}),
        ({"provider": "command"}, {}),
        ({"provider": "openai", "enabled": False}, {"OPENAI_API_KEY": "sk-x"}),
    ],
)
def test_without_a_chosen_service_nobody_listens(
    chosen: dict[str, object], variables: dict[str, str]
) -> None:
    assert make_transcriber(settings(**chosen), variables.get) is None


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (401, b"bad key sk-test-key", "answered 401"),
        (500, b"", "answered 500"),
        (200, b'{"words": 1}', "gave no text"),
        (200, b"[1]", "gave no text"),
    ],
)
async def test_a_failure_is_told_without_the_key(
    speech: SpeechServer, memo: Recording, status: int, body: bytes, problem: str
) -> None:
    speech.status, speech.body = status, body
    chosen = settings(provider="groq", base_url=speech.base_url)
    listener = make_transcriber(chosen, {"STT_API_KEY": "sk-test-key"}.get)
    assert listener is not None
    with pytest.raises(ToolError) as caught:
        await listener.transcribe(memo)
    assert problem in caught.value.message
    assert "sk-test-key" not in json.dumps(caught.value.lines)


async def test_a_service_that_is_not_there_is_told(memo: Recording) -> None:
    listener = make_transcriber(settings(provider="custom", base_url="http://127.0.0.1:9/v1"), {}.get)
    assert listener is not None
    with pytest.raises(ToolError, match="cannot be reached"):
        await listener.transcribe(memo)


async def test_a_command_listens(memo: Recording) -> None:
    listener = make_transcriber(settings(provider="command", command="wc -c < {file}"), {}.get)
    assert listener is not None
    assert await listener.transcribe(memo) == "9"


@pytest.mark.parametrize(
    ("command", "problem"), [("echo no >&2; exit 4 #", "exit code 4"), ("sleep 60 #", "took longer")]
)
async def test_a_command_that_fails_or_hangs_is_told(memo: Recording, command: str, problem: str) -> None:
    listener = make_transcriber(settings(provider="command", command=command, timeout=0.5), {}.get)
    assert listener is not None
    with pytest.raises(ToolError, match=problem):
        await listener.transcribe(memo)
