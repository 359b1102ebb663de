"""The OpenAPI document: what `GET /openapi.json` serves and the tests are fuzzed with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hermes_agent.api.jobs import FIELDS

_TEXT = {"type": "string"}
_FLAG = {"type": ["boolean", "null"]}
_NULLABLE_TEXT = {"type": ["string", "null"]}
_JOB_KINDS: dict[type, dict[str, Any]] = {
    str: _NULLABLE_TEXT,
    list: {"type": ["array", "null"], "items": _TEXT},
    int: {"type": ["integer", "null"]},
    float: {"type": ["number", "null"]},
    bool: _FLAG,
}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def _schemas() -> dict[str, Any]:
    image = {"oneOf": [_TEXT, _object(["url"], url=_TEXT)]}
    part = _object(["type"], type=_TEXT, text=_TEXT, image_url=image)
    content = {"anyOf": [_TEXT, {"type": "array", "items": part}, {"type": "null"}]}
    message = _object(["role"], role=_TEXT, content=content, tool_call_id=_TEXT, name=_TEXT)
    events = {"type": ["array", "string"], "items": {"enum": ["tools", "approvals", "reasoning", "all"]}}
    effort = {"enum": ["none", "minimal", "low", "medium", "high", "xhigh", None]}
    metadata = {
        "type": ["object", "null"],
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    }
    error = _object(
        ["message", "type", "param", "code"],
        message=_TEXT,
        type=_TEXT,
        param=_NULLABLE_TEXT,
        code=_NULLABLE_TEXT,
    )
    items = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
    return {
        "Error": _object(["error"], error=error),
        "ChatRequest": _object(
            ["messages"],
            model=_NULLABLE_TEXT,
            messages={"type": "array", "items": message, "minItems": 1},
            stream=_FLAG,
            stream_options={"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}},
            store=_FLAG,
            n={"enum": [1, None]},
            reasoning_effort=effort,
            response_format={"type": ["object", "null"]},
            hermes_events=events,
        ),
        "ChatCompletion": _object(
            ["id", "object", "created", "model", "choices", "usage"],
            id=_TEXT,
            object={"const": "chat.completion"},
            created={"type": "integer"},
            model=_TEXT,
            choices={"type": "array", "items": {"type": "object"}},
            usage={"type": "object"},
        ),
        "ResponseRequest": _object(
            ["input"],
            model=_NULLABLE_TEXT,
            input=items,
            instructions=_NULLABLE_TEXT,
            previous_response_id=_NULLABLE_TEXT,
            conversation={"anyOf": [_NULLABLE_TEXT, _object(["id"], id=_TEXT)]},
            conversation_history={"type": ["array", "null"], "items": message},
            store=_FLAG,
            stream=_FLAG,
            background=_FLAG,
            truncation={"enum": ["auto", "disabled", None]},
            metadata=metadata,
            reasoning=_object(effort=effort),
            hermes_events=events,
        ),
        "Response": _object(
            ["id", "object", "status", "output"],
            id=_TEXT,
            object={"const": "response"},
            status={"enum": ["queued", "in_progress", "completed", "failed", "incomplete"]},
            output={"type": "array", "items": {"type": "object"}},
        ),
        "RunRequest": _object(
            ["input"],
            input=items,
            instructions=_NULLABLE_TEXT,
            session_id=_NULLABLE_TEXT,
            previous_response_id=_NULLABLE_TEXT,
            model=_NULLABLE_TEXT,
        ),
        "Run": _object(["run_id", "status"], run_id=_TEXT, status=_TEXT),
        "Approval": _object(
            ["decision"], decision={"enum": ["once", "session", "always", "deny"]}, request_id=_NULLABLE_TEXT
        ),
        "JobRequest": _object(
            **{name: _JOB_KINDS[kinds[-1]] for name, kinds in FIELDS.items() if name != "misfire"},
            misfire={"enum": ["grace", "run", "skip", None]},
        ),
        "Job": _object(
            ["job"], job=_object(["id", "name", "schedule", "state"], id=_TEXT, name=_TEXT, state=_TEXT)
        ),
        "Session": _object(["session"], session=_object(["id"], id=_TEXT)),
        "Title": _object(["title"], title={"type": "string", "minLength": 1, "maxLength": 200}),
        "Steering": _object(["text"], text={"type": "string", "minLength": 1}),
        "Any": {"type": "object"},
    }


def _answers(schema: str, status: int = 200, *, is_stream: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(schema)}}
    if is_stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    failed = {"description": "Not done", "content": {"application/json": {"schema": _ref("Error")}}}
    return {str(status): {"description": "Done", "content": content}, "default": failed}


def _header(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": text,
        "schema": {"type": "string", "maxLength": 200},
    }


_SESSION = [
    _header("X-Hermes-Session-Id", "Go on with this conversation"),
    _header("X-Hermes-Session-Key", "Your own name of a conversation; made at first use"),
]
_KEY = _header("Idempotency-Key", "The same request is answered once")
_EVENTS = _header("X-Hermes-Events", "Extension events: tools, approvals, reasoning, all")
_LAST_EVENT = _header("Last-Event-ID", "Go on after this event")


def _number(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    }


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _operation(
    summary: str,
    answers: dict[str, Any],
    *,
    body: str | None = None,
    parameters: list[dict[str, Any]] | None = None,
    is_open: bool = False,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary, "responses": answers}
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(body)}},
        }
    if parameters:
        operation["parameters"] = parameters
    if is_open:
        operation["security"] = []
    return operation


def _paths() -> dict[str, Any]:
    response, run, job = _path("response_id"), _path("run_id"), _path("job_id")
    session = _path("session_id")
    anything = _answers("Any")
    return {
        "/health": {"get": _operation("Whether requests are answered", anything, is_open=True)},
        "/v1/health": {"get": _operation("The same", anything, is_open=True)},
        "/health/detailed": {"get": _operation("Version, model, what is going on", anything)},
        "/v1/models": {"get": _operation("The agent as a model", anything)},
        "/v1/models/{model}": {"get": _operation("The same by name", anything, parameters=[_path("model")])},
        "/v1/capabilities": {"get": _operation("What this server can do", anything)},
        "/v1/skills": {"get": _operation("Installed skills", anything)},
        "/v1/toolsets": {"get": _operation("What the agent may use", anything)},
        "/v1/chat/completions": {
            "post": _operation(
                "Answer a conversation",
                _answers("ChatCompletion", is_stream=True),
                body="ChatRequest",
                parameters=[*_SESSION, _KEY, _EVENTS],
            )
        },
        "/v1/responses": {
            "post": _operation(
                "Make a response",
                _answers("Response", is_stream=True),
                body="ResponseRequest",
                parameters=[*_SESSION, _KEY, _EVENTS],
            )
        },
        "/v1/responses/{response_id}": {
            "get": _operation(
                "A stored response, or its events again",
                _answers("Response", is_stream=True),
                parameters=[response, _LAST_EVENT],
            ),
            "delete": _operation("Forget a response", anything, parameters=[response]),
        },
        "/v1/responses/{response_id}/cancel": {
            "post": _operation("Stop a response", _answers("Response"), parameters=[response])
        },
        "/v1/responses/{response_id}/input_items": {
            "get": _operation("What was asked", anything, parameters=[response])
        },
        "/v1/runs": {
            "post": _operation(
                "Start a run", _answers("Run", 202), body="RunRequest", parameters=[*_SESSION, _KEY]
            )
        },
        "/v1/runs/{run_id}": {"get": _operation("How a run is", _answers("Run"), parameters=[run])},
        "/v1/runs/{run_id}/events": {
            "get": _operation(
                "What happens in a run", _answers("Run", is_stream=True), parameters=[run, _LAST_EVENT]
            )
        },
        "/v1/runs/{run_id}/stop": {"post": _operation("Stop a run", _answers("Run"), parameters=[run])},
        "/v1/runs/{run_id}/steer": {
            "post": _operation(
                "Say something to a running agent", _answers("Run"), body="Steering", parameters=[run]
            )
        },
        "/api/sessions": {
            "get": _operation(
                "Stored conversations", anything, parameters=[_number("limit"), _number("offset")]
            )
        },
        "/api/sessions/{session_id}": {
            "get": _operation("A conversation with its messages", _answers("Session"), parameters=[session]),
            "patch": _operation("Rename it", _answers("Session"), body="Title", parameters=[session]),
            "delete": _operation("Delete it", anything, parameters=[session]),
        },
        "/api/sessions/{session_id}/fork": {
            "post": _operation("Copy it", _answers("Session", 201), parameters=[session])
        },
        "/api/jobs": {
            "get": _operation("Scheduled jobs", anything),
            "post": _operation("Add a job", _answers("Job", 201), body="JobRequest"),
        },
        "/api/jobs/{job_id}": {
            "get": _operation("A job", _answers("Job"), parameters=[job]),
            "patch": _operation("Change a job", _answers("Job"), body="JobRequest", parameters=[job]),
            "delete": _operation("Delete a job", anything, parameters=[job]),
        },
        "/api/jobs/{job_id}/pause": {"post": _operation("Pause a job", _answers("Job"), parameters=[job])},
        "/api/jobs/{job_id}/resume": {"post": _operation("Go on", _answers("Job"), parameters=[job])},
        "/api/jobs/{job_id}/run": {
            "post": _operation("Run a job at once", _answers("Job", 202), parameters=[job])
        },
        "/v1/runs/{run_id}/approval": {
            "post": _operation(
                "Answer an approval request", _answers("Run"), body="Approval", parameters=[run]
            )
        },
    }


@lru_cache(maxsize=1)
def document(version: str) -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hermes-agent",
            "version": version,
            "description": "An agent behind OpenAI-compatible endpoints.",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }
