"""`/v1/responses`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from hermes_agent.agent.session import Session
from hermes_agent.api.active import ActiveRun
from hermes_agent.api.call import Call
from hermes_agent.api.chat import incomplete, session_headers
from hermes_agent.api.conduct import Conductor
from hermes_agent.api.content import MessageCache
from hermes_agent.api.errors import ApiError, bad_request, not_found
from hermes_agent.api.event_log import EventLog
from hermes_agent.api.idempotency import Idempotency
from hermes_agent.api.response_frames import ResponseFrames
from hermes_agent.api.responses_request import ResponseRequest, read_response_request
from hermes_agent.core.runs import ResponseStore, StoredResponse


class _Started(NamedTuple):
    active: ActiveRun
    frames: ResponseFrames
    log: EventLog


class Responses:
    """Makes, gives and forgets responses."""

    def __init__(
        self, conductor: Conductor, idempotency: Idempotency, store: ResponseStore, model_name: str
    ) -> None:
        self._conductor = conductor
        self._idempotency = idempotency
        self._store = store
        self._model_name = model_name
        self._cache = MessageCache()
        self._choosing = asyncio.Lock()

    async def create(self, call: Call) -> None:
        """Make a response: whole, as a stream, or in the background."""
        body = await call.read_json()
        request = read_response_request(body, call.headers, self._cache)
        if request.ask.ignored:
            call.set_header("X-Hermes-Ignored", ", ".join(request.ask.ignored))
        key = self._idempotency.key(call, body)
        if key is not None and request.ask.is_streamed:
            await self._idempotency.follow(call, key, self._conductor, lambda: self._log_id(call, request))
        elif key is not None:
            await self._idempotency.answer(call, key, self._conductor, lambda: self._whole(call, request))
        elif not request.ask.is_stored:
            await self._answer_unstored(call, request)
        elif request.ask.is_streamed:
            await self._conductor.follow(call, await self._log_id(call, request), call.owner)
        else:
            headers, value = await self._conductor.survive(call, self._whole(call, request))
            await call.answer(value, headers=headers)

    async def _answer_unstored(self, call: Call, request: ResponseRequest) -> None:
        active, _ = await self._begin(call, request)
        frames = ResponseFrames(request, self._model_name)
        if request.ask.is_streamed:
            for name, value in session_headers(active).items():
                call.set_header(name, value)
            await self._conductor.stream(call, active, frames)
            return
        await self._conductor.collect(call, active, frames)
        await call.answer(_finished(active, frames), headers=session_headers(active))

    async def _whole(self, call: Call, request: ResponseRequest) -> tuple[dict[str, str], dict[str, Any]]:
        started = await self._start(call, request)
        if request.is_background:
            return session_headers(started.active), {**started.frames.body, "status": "queued"}
        await started.log.wait()
        return session_headers(started.active), _finished(started.active, started.frames)

    async def _log_id(self, call: Call, request: ResponseRequest) -> str:
        started = await self._start(call, request)
        for name, value in session_headers(started.active).items():
            call.set_header(name, value)
        return started.frames.id

    async def _start(self, call: Call, request: ResponseRequest) -> _Started:
        """Begin a run whose response is kept."""
        active, name = await self._begin(call, request)
        frames = ResponseFrames(request, self._model_name)

        async def save(position: int) -> None:
            await self._store.save(
                StoredResponse(
                    frames.id, call.owner, frames.body, request.items, active.session.id, position
                ),
                conversation=name,
            )

        async def finish(_active: ActiveRun) -> dict[str, Any]:
            await save(len(active.session.messages))
            return {"response_id": frames.id}

        try:
            await save(0)
        except BaseException:
            await self._conductor.runs.end(active)
            raise
        facts = {"response_id": frames.id, "run_id": active.run.id, "session_id": active.session.id}
        log = await self._conductor.record(active, frames, frames.id, facts, finish)
        return _Started(active, frames, log)

    async def _begin(self, call: Call, request: ResponseRequest) -> tuple[ActiveRun, str | None]:
        """The run, and the name of its conversation."""
        runs, owner = self._conductor.runs, call.owner
        runs.check_room()
        name = f"{owner}:{request.conversation}" if request.conversation else None
        if request.ask.session_id or request.ask.session_key or request.has_own_history:
            return await runs.start(request.ask, owner), name
        async with self._choosing:  # two requests that go on from one response must not share its session
            previous_id = request.previous_response_id
            if name is not None:
                previous_id = await self._store.newest_of(name)
            if previous_id is None:
                return await runs.start(request.ask, owner), name
            previous = await self._store.get(previous_id)
            if previous is None or previous.owner != owner:
                if name is not None:
                    return await runs.start(request.ask, owner), name
                raise not_found("response", previous_id, param="previous_response_id")
            request, session = await self._continued(request, previous, owner)
            return await runs.start(request.ask, owner, session=session), name

    async def _continued(
        self, request: ResponseRequest, previous: StoredResponse, owner: str
    ) -> tuple[ResponseRequest, Session | None]:
        if self._conductor.logs.get_open(previous.id, owner) is not None:
            raise ApiError(
                409,
                f"Response {previous.id} is not finished yet",
                code="response_in_progress",
                param="previous_response_id",
                headers={"Retry-After": "1"},
            )
        sessions = self._conductor.runs.sessions
        ask = request.ask
        if not ask.instructions and previous.body.get("instructions"):
            ask = replace(ask, instructions=str(previous.body["instructions"]))
        if not ask.is_stored:
            history = await sessions.history(previous.session_id, previous.position)
            return replace(request, ask=replace(ask, history=(*history, *ask.history))), None
        session = await sessions.continue_from(previous.session_id, previous.position, ask, owner)
        if ask.history:
            await session.append(ask.history)
        return replace(request, ask=ask), session

    async def _stored(self, call: Call) -> StoredResponse:
        response_id = call.path_params["response_id"]
        found = await self._store.get(response_id)
        if found is None or found.owner != call.owner:
            raise not_found("response", response_id, param="response_id")
        return found

    async def get(self, call: Call) -> None:
        """A stored response, or (`?stream=true&starting_after=N`) its events again."""
        found = await self._stored(call)
        query = {name: values[-1] for name, values in parse_qs(call.query).items()}
        if query.get("stream", "").lower() in ("true", "1"):
            after = last_event_id(call)
            if (given := query.get("starting_after")) is not None:
                if not given.isdigit() or len(given) > 15:
                    raise bad_request("starting_after must be a number", "starting_after")
                after = int(given) + 1  # sequence numbers begin at 0, event ids at 1
            if await self._conductor.logs.get_run(found.id, call.owner) is None:
                raise not_found("event log of response", found.id)
            await self._conductor.follow(call, found.id, call.owner, after=after)
            return
        body = found.body
        if (
            body.get("status") in ("queued", "in_progress")
            and self._conductor.logs.get_open(found.id, call.owner) is None
        ):
            body = {**body, "status": "incomplete", "incomplete_details": {"reason": "server_stopped"}}
        await call.answer(body)

    async def delete(self, call: Call) -> None:
        """Forget a response and its events; its conversation stays."""
        found = await self._stored(call)
        log = self._conductor.logs.get_open(found.id, call.owner)
        if log is not None:
            raise ApiError(409, f"Response {found.id} is not finished yet", code="response_in_progress")
        await self._store.delete(found.id)
        await self._conductor.logs.delete(found.id)
        await call.answer({"id": found.id, "object": "response", "deleted": True})

    async def cancel(self, call: Call) -> None:
        """Stop a response that is being made."""
        found = await self._stored(call)
        log = self._conductor.logs.get_open(found.id, call.owner)
        if log is not None:
            active = self._conductor.runs.get(str(log.run.facts.get("run_id")), call.owner)
            if active is not None:
                active.run.interrupt()
            await log.wait()
            found = await self._stored(call)
        await call.answer(found.body)

    async def input_items(self, call: Call) -> None:
        """What a response was asked."""
        items = (await self._stored(call)).items
        ids = [str(item.get("id", "")) for item in items if isinstance(item, dict)]
        await call.answer(
            {
                "object": "list",
                "data": items,
                "first_id": ids[0] if ids else None,
                "last_id": ids[-1] if ids else None,
                "has_more": False,
            }
        )


def last_event_id(call: Call) -> int:
    """Number of the last event a client has seen, from `Last-Event-ID`. Raises `ApiError`."""
    given = call.headers.get("last-event-id", "").strip()
    if not given:
        return 0
    if not given.isdigit() or len(given) > 15:
        raise bad_request("Last-Event-ID must be a number", "Last-Event-ID")
    return int(given)


def _finished(active: ActiveRun, frames: ResponseFrames) -> dict[str, Any]:
    if (error := active.answer.error) is not None:
        raise incomplete(error, active)
    return frames.body
