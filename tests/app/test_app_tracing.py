"""Traces, as a real collector gets them: OTLP over HTTP, decoded from protobuf."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from hermes_agent.app.tracing import traces_endpoint
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from conftest import StartServer

SECRET = "sk-test-0123456789abcdef0123456789abcdef"


class Collector:
    """Takes spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    data = gzip.decompress(data)
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest.FromString(data)
                for group in request.resource_spans:
                    collector.resources.append(values(group.resource.attributes))
                    for scope in group.scope_spans:
                        collector.spans += scope.spans
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, start: str) -> list[Span]:
        return [span for span in self.spans if span.name.startswith(start)]


def values(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in attributes:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        found[item.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def configure(home: Home, base_url: str, **telemetry: Any) -> None:
    settings = {
        "model": {"provider": "custom", "base_url": base_url, "default": "scripted", "api_key": "${KEY}"},
        "telemetry": telemetry,
    }
    home.config_file.write_text(yaml.safe_dump(settings))
    home.config_file.chmod(0o600)


def ask(home: Home, text: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent", "-z", text],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home.root.parent),
            "HERMES_HOME": str(home.root),
            "KEY": SECRET,
            **env,
        },
        cwd=home.root.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CALL = {"name": "read_file", "arguments": {"path": "notes.txt"}}
SCRIPT: Any = {"steps": [{"tool_calls": [CALL]}, {"text": "The notes say 42."}]}


def test_a_run_its_requests_and_its_calls_are_one_tree(
    home: Home, collector: Collector, model_server: StartServer
) -> None:
    (home.root.parent / "notes.txt").write_text("42\n")
    configure(home, model_server(SCRIPT).base_url, traces=True, endpoint=collector.url)
    done = ask(home, "What do the notes say?")
    assert done.stdout.strip() == "The notes say 42.", done.stderr
    (run,) = collector.named("invoke_agent")
    chats = collector.named("chat ")
    (call,) = collector.named("execute_tool")
    assert run.name == "invoke_agent hermes-agent"
    assert [chat.name for chat in chats] == ["chat scripted", "chat scripted"]
    assert call.name == "execute_tool read_file"
    assert not run.parent_span_id
    assert {span.parent_span_id for span in (*chats, call)} == {run.span_id}
    assert {span.trace_id for span in collector.spans} == {run.trace_id}
    assert run.kind == Span.SPAN_KIND_INTERNAL
    assert {chat.kind for chat in chats} == {Span.SPAN_KIND_CLIENT}
    whole, first, tool = values(run.attributes), values(chats[0].attributes), values(call.attributes)
    assert whole["gen_ai.operation.name"] == "invoke_agent"
    assert whole["gen_ai.agent.name"] == "hermes-agent"
    assert whole["gen_ai.conversation.id"]
    assert whole["hermes.outcome"] == "completed"
    assert first["gen_ai.operation.name"] == "chat"
    assert first["gen_ai.provider.name"] == "custom"
    assert first["gen_ai.request.model"] == "scripted"
    assert first["gen_ai.response.finish_reasons"] == ["tool_calls"]
    assert first["server.address"] == "127.0.0.1"
    assert tool["gen_ai.operation.name"] == "execute_tool"
    assert tool["gen_ai.tool.name"] == "read_file"
    assert tool["gen_ai.tool.call.id"]
    counted = [values(chat.attributes)["gen_ai.usage.input_tokens"] for chat in chats]
    assert whole["gen_ai.usage.input_tokens"] == sum(counted) > 0
    assert first["gen_ai.usage.output_tokens"] > 0
    assert first["gen_ai.response.time_to_first_chunk"] > 0
    assert run.start_time_unix_nano <= chats[0].start_time_unix_nano <= call.start_time_unix_nano
    assert call.end_time_unix_nano <= run.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "hermes-agent"
    assert "notes" not in str(collector.spans)  # neither what was said nor what the tool got


def test_content_is_sent_only_when_asked_for_and_without_secrets(
    home: Home, collector: Collector, model_server: StartServer
) -> None:
    (home.root.parent / "notes.txt").write_text(f"the key is {SECRET}\n")
    configure(
        home,
        model_server(SCRIPT).base_url,
        traces=True,
        content=True,
        endpoint=collector.url,
        headers={"x-key": "collector"},
    )
    assert ask(home, "What do the notes say?").returncode == 0
    first, second = (values(chat.attributes) for chat in collector.named("chat "))
    asked = json.loads(first["gen_ai.input.messages"])
    assert asked[-1]["parts"] == [{"type": "text", "content": "What do the notes say?"}]
    (answer,) = json.loads(first["gen_ai.output.messages"])
    assert answer["parts"][0]["type"] == "tool_call"
    assert answer["finish_reason"] == "tool_calls"
    assert json.loads(second["gen_ai.input.messages"])[0]["role"] == "tool"
    assert json.loads(second["gen_ai.output.messages"])[0]["parts"][0]["content"] == "The notes say 42."
    tool = values(collector.named("execute_tool")[0].attributes)
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"path": "notes.txt"}
    assert "the key is" in tool["gen_ai.tool.call.result"]
    assert SECRET not in str(collector.spans)
    assert collector.headers[0]["x-key"] == "collector"


def test_failures_have_a_status_and_a_type(
    home: Home, collector: Collector, model_server: StartServer
) -> None:
    script: Any = {"rules": [{"error": {"status": 401}}]}
    configure(home, model_server(script).base_url, traces=True)
    done = ask(home, "hello", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.returncode == 4
    (run,), (chat,) = collector.named("invoke_agent"), collector.named("chat ")
    assert values(chat.attributes)["error.type"] == "ModelAuthError"
    assert values(run.attributes)["error.type"] == "ModelAuthError"
    assert run.status.code == chat.status.code == 2
    assert SECRET not in str(collector.spans)


def test_a_collector_that_is_away_or_silent_holds_nothing_up(home: Home, model_server: StartServer) -> None:
    url = model_server({"rules": [{"text": "fine"}]}).base_url
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # takes connections only
    for endpoint in ("http://127.0.0.1:9", f"http://127.0.0.1:{silent.server_port}"):
        configure(home, url, traces=True, endpoint=endpoint)
        began = time.monotonic()
        done = ask(home, "hello")
        assert done.stdout.strip() == "fine", done.stderr
        assert time.monotonic() - began < 30
    silent.server_close()


def test_without_traces_nothing_of_it_is_imported(home: Home) -> None:
    home.config_file.write_text("model: {provider: demo, default: demo}\n")
    program = (
        "import asyncio, sys\n"
        "from hermes_agent.app.container import App\n"
        "async def main():\n"
        "    app = App.load()\n"
        "    session = await app.open_session()\n"
        "    await session.start('hello').result()\n"
        "    await session.aclose(); await app.aclose()\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "HOME": str(home.root.parent), "HERMES_HOME": str(home.root)},
        cwd=home.root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("setting", "variables", "wanted"),
    [
        ("", {}, "http://localhost:4318/v1/traces"),
        ("http://c:1", {}, "http://c:1/v1/traces"),
        ("http://c:1/", {}, "http://c:1/v1/traces"),
        ("http://c:1/api/otel", {}, "http://c:1/api/otel"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:1/base"}, "http://e:1/base/v1/traces"),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://t:1/x"),
        ("http://c:1", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://c:1/v1/traces"),
    ],
)
def test_the_address_of_the_collector(setting: str, variables: dict[str, str], wanted: str) -> None:
    assert traces_endpoint(TelemetrySettings(traces=True, endpoint=setting), variables.get) == wanted
