"""`/v1/runs`: runs that are started, watched, stopped and asked for approval by separate requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

from hermes_agent.api.active import ActiveRun
from hermes_agent.api.answer import response_usage
from hermes_agent.api.call import Call
from hermes_agent.api.chat import session_headers
from hermes_agent.api.conduct import Conductor
from hermes_agent.api.content import MessageCache
from hermes_agent.api.errors import ApiError, bad_request, not_found
from hermes_agent.api.fields import EVENT_KINDS, text_field
from hermes_agent.api.idempotency import Idempotency
from hermes_agent.api.responses import last_event_id
from hermes_agent.api.responses_request import ResponseRequest, read_response_request
from hermes_agent.api.run_frames import RunFrames
from hermes_agent.core.approvals import Decision
from hermes_agent.core.runs import ResponseStore

MOST_RUNS: Final = 10
"""Runs that one key may have going on through this endpoint."""

_DECISIONS: Final = {
    "approve": "once",
    "allow": "once",
    "once": "once",
    "session": "session",
    "always": "always",
    "deny": "deny",
    "reject": "deny",
}


class Runs:
    """Starts and steers runs."""

    def __init__(self, conductor: Conductor, idempotency: Idempotency, store: ResponseStore) -> None:
        self._conductor = conductor
        self._idempotency = idempotency
        self._store = store
        self._cache = MessageCache()
        self._going_on: set[str] = set()

    async def create(self, call: Call) -> None:
        """Start a run; answers 202 with its id."""
        body = await call.read_json()
        request = self._read(call, body)
        key = self._idempotency.key(call, body)
        if key is not None:
            await self._idempotency.answer(
                call, key, self._conductor, lambda: self._start(call, request), status=202
            )
            return
        headers, value = await self._start(call, request)
        await call.answer(value, 202, headers=headers)

    def _read(self, call: Call, body: dict[str, Any]) -> ResponseRequest:
        if "input" not in body and "messages" in body:
            body = {**body, "input": body["messages"]}
        for name in ("store", "background", "stream"):
            if name in body:
                raise bad_request(f"{name} is not a field of runs", name)
        request = read_response_request(body, call.headers, self._cache)
        session_id = text_field(body, "session_id") or request.ask.session_id
        ask = replace(request.ask, session_id=session_id, is_stored=True, events=EVENT_KINDS)
        return replace(request, ask=ask)

    async def _start(self, call: Call, request: ResponseRequest) -> tuple[dict[str, str], dict[str, Any]]:
        if len(self._going_on) >= MOST_RUNS:
            raise ApiError(
                429,
                f"{MOST_RUNS} runs are going on already",
                code="too_many_runs",
                headers={"Retry-After": "5"},
            )
        session = None
        if request.previous_response_id is not None:
            previous = await self._store.get(request.previous_response_id)
            if previous is None or previous.owner != call.owner:
                raise not_found("response", request.previous_response_id, param="previous_response_id")
            session = await self._conductor.runs.sessions.continue_from(
                previous.session_id, previous.position, request.ask, call.owner
            )
        active = await self._conductor.runs.start(request.ask, call.owner, session=session)
        run_id = active.run.id
        self._going_on.add(run_id)
        active.run.add_done_callback(lambda _finished: self._going_on.discard(run_id))
        facts = {"session_id": active.session.id, "model": active.session.model.info.label}
        await self._conductor.record(active, RunFrames(), run_id, facts, _facts)
        value = {"run_id": run_id, "object": "run", "status": "in_progress", **facts}
        return session_headers(active), value

    async def get(self, call: Call) -> None:
        """How a run is, and what came of it."""
        run_id = call.path_params["run_id"]
        active = self._conductor.runs.get(run_id, call.owner)
        run = await self._conductor.logs.get_run(run_id, call.owner)
        if run is None and active is None:
            raise not_found("run", run_id, param="run_id")
        value: dict[str, Any] = {"run_id": run_id, "object": "run", "status": "in_progress"}
        if run is not None:
            value |= {"status": run.status, "created_at": int(run.created_at), **run.facts}
        if active is not None:
            value["pending_approvals"] = [
                {"request_id": request.id, "tool": request.tool_name, "action": request.action}
                for request in active.pending.values()
            ]
            if active.pending:
                value["status"] = "waiting_for_approval"
        await call.answer(value)

    async def events(self, call: Call) -> None:
        """The events of a run, from `Last-Event-ID` on, those to come included."""
        run_id = call.path_params["run_id"]
        if await self._conductor.logs.get_run(run_id, call.owner) is None:
            raise not_found("run", run_id, param="run_id")
        await self._conductor.follow(call, run_id, call.owner, after=last_event_id(call))

    async def stop(self, call: Call) -> None:
        """Stop a run, whatever endpoint started it."""
        active, run_id = await self._active(call)
        if active is not None:
            active.run.interrupt()
        await call.answer({"run_id": run_id, "status": "stopping" if active else "ended"})

    async def steer(self, call: Call) -> None:
        """Say something to the agent without stopping it."""
        body = await call.read_json()
        text = text_field(body, "text", max_chars=100_000)
        if text is None:
            raise bad_request("text is missing", "text")
        active, run_id = await self._active(call)
        if active is None:
            raise ApiError(409, f"Run {run_id} has ended", code="run_ended")
        active.run.steer(text)
        await call.answer({"run_id": run_id, "status": "in_progress"})

    async def approve(self, call: Call) -> None:
        """Answer an approval request of a run. It counts for the exact action that was asked for."""
        body = await call.read_json()
        given = body.get("decision", body.get("choice"))
        decision = _DECISIONS.get(given.lower()) if isinstance(given, str) else None
        if decision is None:
            raise bad_request("decision must be once, session, always or deny", "decision")
        request_id = text_field(body, "request_id")
        active, run_id = await self._active(call)
        pending = list(active.pending) if active is not None else []
        if request_id is None and len(pending) == 1:
            request_id = pending[0]
        if request_id is None and len(pending) > 1:
            raise bad_request("Several approvals are open: send request_id", "request_id")
        if active is None or request_id not in pending:
            raise ApiError(409, "This approval is not open (any more)", code="approval_not_pending")
        if not active.run.decide(request_id, cast(Decision, decision), by="api"):
            raise ApiError(409, "This approval is not open (any more)", code="approval_not_pending")
        await call.answer({"run_id": run_id, "request_id": request_id, "decision": decision})

    async def _active(self, call: Call) -> tuple[ActiveRun | None, str]:
        """The run if it goes on. Raises `ApiError` 404 if there never was one."""
        run_id = call.path_params["run_id"]
        active = self._conductor.runs.get(run_id, call.owner)
        if active is None and await self._conductor.logs.get_run(run_id, call.owner) is None:
            raise not_found("run", run_id, param="run_id")
        return active, run_id


async def _facts(active: ActiveRun) -> dict[str, Any]:
    answer = active.answer
    facts: dict[str, Any] = {
        "session_id": active.session.id,
        "output": answer.text[-200_000:],
        "usage": response_usage(answer.usage),
    }
    if answer.error is not None:
        facts["error"] = answer.error.body["error"]
    return facts
