"""What clients may ask about the server itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hermes_agent.api.active import ActiveRuns
from hermes_agent.api.call import MAX_BODY_BYTES, Call
from hermes_agent.api.errors import not_found
from hermes_agent.api.event_log import KEPT_SECONDS
from hermes_agent.api.fields import EVENT_KINDS
from hermes_agent.api.metrics import CONTENT_TYPE, Metrics
from hermes_agent.api.openapi import document
from hermes_agent.api.ports import ApiPorts
from hermes_agent.api.runs import MOST_RUNS
from hermes_agent.api.wire import MAX_LINE_BYTES
from hermes_agent.core.errors import HermesError


class Information:
    """Models, health, capabilities, skills, toolsets, metrics, the OpenAPI document."""

    def __init__(self, ports: ApiPorts, runs: ActiveRuns, metrics: Metrics) -> None:
        self._ports = ports
        self._runs = runs
        self._metrics = metrics
        self._started_at = time.time()

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._ports.settings.model_name,
            "object": "model",
            "created": int(self._started_at),
            "owned_by": "hermes-agent",
        }

    async def models(self, call: Call) -> None:
        """The agent, as the one model there is."""
        await call.answer({"object": "list", "data": [self._model()]})

    async def model(self, call: Call) -> None:
        """The same by name."""
        name = call.path_params["model"]
        if name != self._ports.settings.model_name:
            raise not_found("model", name, param="model")
        await call.answer(self._model())

    async def health(self, call: Call) -> None:
        """Whether requests are answered; needs no key, so it says nothing else."""
        await call.answer({"status": "stopping" if self._runs.is_draining else "ok"})

    async def health_in_detail(self, call: Call) -> None:
        """Version, model, what is going on."""
        value: dict[str, Any] = {
            "status": "stopping" if self._runs.is_draining else "ok",
            "version": self._ports.version,
            "uptime_seconds": round(time.time() - self._started_at, 1),
            "active_runs": self._runs.count,
            "open_sessions": self._runs.sessions.count,
            "runs": self._metrics.runs,
            "memory_mib": _resident_mib(),
        }
        try:
            info = self._ports.describe_model()
        except HermesError as error:
            value |= {"status": "degraded", "model": None, "problem": "\n".join(error.lines)}
        else:
            value["model"] = {
                "provider": info.provider,
                "model": info.model,
                "context_window": info.context_window,
                "supports_images": info.supports_images,
            }
        await call.answer(value)

    async def capabilities(self, call: Call) -> None:
        """What this server can do, for front ends."""
        await call.answer(
            {
                "object": "hermes.capabilities",
                "version": self._ports.version,
                "model": self._ports.settings.model_name,
                "endpoints": sorted(
                    f"{method.upper()} {path}"
                    for path, methods in document(self._ports.version)["paths"].items()
                    for method in methods
                ),
                "features": {
                    "chat_completions": True,
                    "chat_completions_streaming": True,
                    "responses_api": True,
                    "responses_streaming": True,
                    "responses_background": True,
                    "runs_api": True,
                    "run_events_sse": True,
                    "run_events_replay": True,
                    "run_stop": True,
                    "run_steer": True,
                    "run_approval": True,
                    "jobs_api": True,
                    "sessions_api": True,
                    "tool_progress_events": True,
                    "session_continuity": True,
                    "idempotency": True,
                    "image_input": True,
                    "client_tools": False,
                },
                "headers": {
                    "session_id": "X-Hermes-Session-Id",
                    "session_key": "X-Hermes-Session-Key",
                    "events": "X-Hermes-Events",
                    "run_id": "X-Hermes-Run-Id",
                    "idempotency_key": "Idempotency-Key",
                },
                "extension_events": sorted(EVENT_KINDS),
                "limits": {
                    "body_bytes": MAX_BODY_BYTES,
                    "sse_line_bytes": MAX_LINE_BYTES,
                    "concurrent_runs": MOST_RUNS,
                    "runs_kept_seconds": int(KEPT_SECONDS),
                },
            }
        )

    async def skills(self, call: Call) -> None:
        """Installed skills."""
        await call.answer({"object": "list", "data": list(await self._ports.skills())})

    async def toolsets(self, call: Call) -> None:
        """What the agent may use."""
        await call.answer({"object": "list", "data": list(self._ports.toolsets())})

    async def openapi(self, call: Call) -> None:
        """The OpenAPI document."""
        await call.answer(document(self._ports.version))

    async def metrics(self, call: Call) -> None:
        """Counters for Prometheus, if they are switched on."""
        if not self._ports.settings.metrics:
            raise not_found("page", "/metrics")
        text = self._metrics.text(
            active_runs=self._runs.count,
            open_sessions=self._runs.sessions.count,
            uptime_seconds=time.time() - self._started_at,
        )
        await call.answer_bytes(text, CONTENT_TYPE)


def _resident_mib() -> float | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * 4096 / 1024 / 1024, 1)
