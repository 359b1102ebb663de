"""The ASGI application: routes, keys, origins, errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from hermes_agent.api.access import Key
from hermes_agent.api.active import ActiveRuns
from hermes_agent.api.call import KEEP_ALIVE_SECONDS, Call
from hermes_agent.api.chat import ChatCompletions
from hermes_agent.api.conduct import Conductor
from hermes_agent.api.errors import ApiError, from_hermes
from hermes_agent.api.event_log import EventLogs
from hermes_agent.api.idempotency import Idempotency
from hermes_agent.api.information import Information
from hermes_agent.api.jobs import Jobs
from hermes_agent.api.metrics import Metrics
from hermes_agent.api.ports import ApiPorts
from hermes_agent.api.responses import Responses
from hermes_agent.api.runs import Runs
from hermes_agent.api.session_pages import SessionPages
from hermes_agent.api.sessions import Sessions
from hermes_agent.core.errors import HermesError

_LOG = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Call], Awaitable[None]]

_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Api-Key, X-Hermes-Events, "
        "X-Hermes-Session-Id, X-Hermes-Session-Key",
    ),
    ("Access-Control-Max-Age", "600"),
)
_EXPOSED: Final = "X-Hermes-Session-Id, X-Hermes-Run-Id, X-Hermes-Completed, X-Hermes-Partial, X-Request-Id"


class _Endpoint:
    """A handler as Starlette's routes want it: a class of its own, not a function of a request."""

    def __init__(self, application: Application, path: str, handler: Handler, *, is_open: bool) -> None:
        self._application = application
        self._path = path
        self._handler = handler
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application.handle(
            Call(scope, receive, send), self._path, self._handler, is_open=self._is_open
        )


class Application:
    """Answers HTTP requests.

    Attributes:
        keep_alive_seconds: A stream that is silent for so long gets a comment.
    """

    def __init__(self, ports: ApiPorts) -> None:
        self.metrics = Metrics()
        self.keep_alive_seconds = KEEP_ALIVE_SECONDS
        self.runs = ActiveRuns(Sessions(ports), self.metrics.ended)
        self._key = Key(ports.key)
        self._origins = frozenset(origin.rstrip("/") for origin in ports.settings.cors_origins)
        self._redact = ports.redact
        conductor = Conductor(self.runs, EventLogs(ports.store))
        idempotency = Idempotency()
        name = ports.settings.model_name
        about = Information(ports, self.runs, self.metrics)
        chat = ChatCompletions(conductor, idempotency, name)
        responses = Responses(conductor, idempotency, ports.store, name)
        runs = Runs(conductor, idempotency, ports.store)
        jobs = Jobs(ports.jobs)
        pages = SessionPages(ports, self.runs.sessions)
        self._router = Router(
            [
                self._route("POST", "/v1/chat/completions", chat.create),
                self._route("POST", "/v1/responses", responses.create),
                self._route("GET", "/v1/responses/{response_id}", responses.get),
                self._route("DELETE", "/v1/responses/{response_id}", responses.delete),
                self._route("POST", "/v1/responses/{response_id}/cancel", responses.cancel),
                self._route("GET", "/v1/responses/{response_id}/input_items", responses.input_items),
                self._route("POST", "/v1/runs", runs.create),
                self._route("GET", "/v1/runs/{run_id}", runs.get),
                self._route("GET", "/v1/runs/{run_id}/events", runs.events),
                self._route("POST", "/v1/runs/{run_id}/stop", runs.stop),
                self._route("POST", "/v1/runs/{run_id}/steer", runs.steer),
                self._route("POST", "/v1/runs/{run_id}/approval", runs.approve),
                self._route("GET", "/v1/models", about.models),
                self._route("GET", "/v1/models/{model:path}", about.model),
                self._route("GET", "/health", about.health, is_open=True),
                self._route("GET", "/v1/health", about.health, is_open=True),
                self._route("GET", "/health/detailed", about.health_in_detail),
                self._route("GET", "/v1/capabilities", about.capabilities),
                self._route("GET", "/v1/skills", about.skills),
                self._route("GET", "/v1/toolsets", about.toolsets),
                self._route("GET", "/api/sessions", pages.list),
                self._route("GET", "/api/sessions/{session_id}", pages.get),
                self._route("PATCH", "/api/sessions/{session_id}", pages.rename),
                self._route("DELETE", "/api/sessions/{session_id}", pages.delete),
                self._route("POST", "/api/sessions/{session_id}/fork", pages.fork),
                self._route("GET", "/api/jobs", jobs.list),
                self._route("POST", "/api/jobs", jobs.create),
                self._route("GET", "/api/jobs/{job_id}", jobs.get),
                self._route("PATCH", "/api/jobs/{job_id}", jobs.edit),
                self._route("DELETE", "/api/jobs/{job_id}", jobs.remove),
                self._route("POST", "/api/jobs/{job_id}/pause", jobs.pause),
                self._route("POST", "/api/jobs/{job_id}/resume", jobs.resume),
                self._route("POST", "/api/jobs/{job_id}/run", jobs.run),
                self._route("GET", "/openapi.json", about.openapi),
                self._route("GET", "/metrics", about.metrics),
            ],
            redirect_slashes=False,
            default=_Endpoint(self, "(none)", _nothing_there, is_open=False),
        )

    def _route(self, method: str, path: str, handler: Handler, *, is_open: bool = False) -> Route:
        return Route(path, _Endpoint(self, path, handler, is_open=is_open), methods=[method])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        scope["app"] = self  # so that a wrong method is an exception and not an answer without our headers
        if scope["method"] == "OPTIONS":
            await self.handle(Call(scope, receive, send), "(options)", self._preflight, is_open=True)
            return
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            refused = ApiError(
                error.status_code,
                f"{scope['method']} is not possible here",
                code="method_not_allowed",
                headers=error.headers,
            )
            await self.handle(Call(scope, receive, send), "(method)", _refusing(refused), is_open=False)

    async def handle(self, call: Call, path: str, handler: Handler, *, is_open: bool) -> None:
        """Check the key, run the handler, answer with an error if it fails."""
        self._allow_origin(call)
        call.keep_alive_seconds = self.keep_alive_seconds
        try:
            if not is_open:
                call.owner = self._key.check(call.headers)
            await handler(call)
        except HermesError as error:
            await self._refuse(call, from_hermes(error))
        except Exception:  # noqa: BLE001 - the last handler: no request may go without an answer
            _LOG.exception("request %s failed unexpectedly", call.id)
            await self._refuse(
                call,
                ApiError(
                    500,
                    f"Internal error; the log has the details under {call.id}",
                    code="internal_error",
                ),
            )
        finally:
            self.metrics.answered(path, call.status)

    async def _refuse(self, call: Call, error: ApiError) -> None:
        error.message = self._redact(error.message)
        await call.refuse(error)

    def _allow_origin(self, call: Call) -> None:
        origin = call.headers.get("origin")
        if origin is None or not self._origins:
            return
        call.set_header("Vary", "Origin")
        if origin in self._origins or "*" in self._origins:
            call.set_header("Access-Control-Allow-Origin", origin)
            call.set_header("Access-Control-Expose-Headers", _EXPOSED)

    async def _preflight(self, call: Call) -> None:
        origin = call.headers.get("origin")
        if origin is None or not (origin in self._origins or "*" in self._origins):
            raise ApiError(403, "This origin may not call the server", code="origin_not_allowed")
        for name, value in _PREFLIGHT:
            call.set_header(name, value)
        await call.answer_bytes(b"", b"text/plain", 204)


async def _nothing_there(call: Call) -> None:
    path = str(call.scope["path"])[:200]
    raise ApiError(404, f"There is nothing at {path}; see GET /v1/capabilities", code="unknown_path")


def _refusing(error: ApiError) -> Handler:
    async def refuse(_call: Call) -> None:
        raise error

    return refuse
