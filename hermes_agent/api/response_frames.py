"""Streams and objects of the Responses API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from hermes_agent.api.active import ActiveRun
from hermes_agent.api.answer import response_usage
from hermes_agent.api.frames import MAX_DATA_BYTES, approval_data, pieces
from hermes_agent.api.responses_request import ResponseRequest
from hermes_agent.api.sse import Frame
from hermes_agent.api.wire import dumps, fitting, new_id
from hermes_agent.core.events import (
    ApprovalRequested,
    RunEvent,
    RunFinished,
    ToolCallFinished,
    ToolCallStarted,
)


class ResponseFrames:
    """Follows a run and writes a response: the object, and the events that lead to it.

    Attributes:
        body: The response object as it is now.
    """

    def __init__(self, request: ResponseRequest, model: str) -> None:
        self.id = new_id("resp_", 28)
        self._number = 0
        self._text: list[str] = []
        self._message: dict[str, Any] | None = None
        self._output: list[dict[str, Any]] = []
        self._calls: dict[str, int] = {}
        self.body: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": request.ask.model or model,
            "output": self._output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "max_output_tokens": None,
            "reasoning": {"effort": request.ask.reasoning_effort, "summary": None},
            "text": {"format": {"type": "text"}},
            "usage": None,
            "user": None,
            **request.body,
        }

    def _frame(self, kind: str, /, **fields: Any) -> Frame:
        value = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return Frame(kind, fitting(value, MAX_DATA_BYTES))

    def begin(self, active: ActiveRun) -> Iterator[Frame]:
        """The response exists."""
        del active
        yield self._frame("response.created", response=self.body)
        yield self._frame("response.in_progress", response=self.body)

    def take(self, active: ActiveRun, event: RunEvent) -> Iterator[Frame]:
        """What an event adds."""
        if text := active.take(event):
            yield from self._say(text)
        if isinstance(event, ToolCallStarted):
            yield from self._close_message()
            yield from self._call(event)
        elif isinstance(event, ToolCallFinished):
            yield from self._result(event)
        elif isinstance(event, ApprovalRequested) and "approvals" in active.ask.events:
            value = {**approval_data(active, event), "sequence_number": self._number}
            self._number += 1
            yield Frame("hermes.approval.requested", fitting(value, MAX_DATA_BYTES))
        elif isinstance(event, RunFinished):
            yield from self._close_message()
            yield from self._end(active)

    def _say(self, text: str) -> Iterator[Frame]:
        if self._message is None:
            text = text.lstrip("\n") or text
            self._message = {
                "type": "message",
                "id": new_id("msg_", 28),
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
            self._output.append(self._message)
            yield self._frame(
                "response.output_item.added", output_index=len(self._output) - 1, item=self._message
            )
            yield self._frame(
                "response.content_part.added",
                item_id=self._message["id"],
                output_index=len(self._output) - 1,
                content_index=0,
                part={"type": "output_text", "text": "", "annotations": [], "logprobs": []},
            )
        self._text.append(text)
        for piece in pieces(text):
            data = dumps(
                {
                    "type": "response.output_text.delta",
                    "sequence_number": self._number,
                    "item_id": self._message["id"],
                    "output_index": len(self._output) - 1,
                    "content_index": 0,
                    "delta": piece,
                    "logprobs": [],
                }
            )
            self._number += 1
            yield Frame("response.output_text.delta", data)

    def _close_message(self, status: str = "completed") -> Iterator[Frame]:
        message, self._message = self._message, None
        if message is None:
            return
        text, index = "".join(self._text), len(self._output) - 1
        self._text = []
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message["content"] = [part]
        message["status"] = status
        place = {"item_id": message["id"], "output_index": index, "content_index": 0}
        yield self._frame("response.output_text.done", **place, text=text, logprobs=[])
        yield self._frame("response.content_part.done", **place, part=part)
        yield self._frame("response.output_item.done", output_index=index, item=message)

    def _call(self, event: ToolCallStarted) -> Iterator[Frame]:
        item = {
            "type": "function_call",
            "id": new_id("fc_", 28),
            "call_id": event.tool_call_id,
            "name": event.name,
            "arguments": event.arguments,
            "status": "in_progress",
        }
        self._output.append(item)
        index = len(self._output) - 1
        self._calls[event.tool_call_id] = index
        yield self._frame("response.output_item.added", output_index=index, item={**item, "arguments": ""})
        place = {"item_id": item["id"], "output_index": index}
        for piece in pieces(event.arguments):
            yield self._frame("response.function_call_arguments.delta", **place, delta=piece)
        yield self._frame(
            "response.function_call_arguments.done", **place, name=event.name, arguments=event.arguments
        )

    def _result(self, event: ToolCallFinished) -> Iterator[Frame]:
        index = self._calls.pop(event.tool_call_id, None)
        if index is not None:
            self._output[index]["status"] = "completed"
            yield self._frame("response.output_item.done", output_index=index, item=self._output[index])
        item = {
            "type": "function_call_output",
            "id": new_id("fco_", 28),
            "call_id": event.tool_call_id,
            "output": event.text,
            "status": "incomplete" if event.is_error else "completed",
        }
        self._output.append(item)
        place = len(self._output) - 1
        yield self._frame("response.output_item.added", output_index=place, item=item)
        yield self._frame("response.output_item.done", output_index=place, item=item)

    def _end(self, active: ActiveRun) -> Iterator[Frame]:
        answer = active.answer
        reason, error = answer.finish_reason, answer.error
        self.body["usage"] = response_usage(answer.usage)
        if error is None and reason == "stop":
            self.body["status"] = "completed"
            self.body["completed_at"] = int(time.time())
        elif error is not None and error.code == "run_interrupted":
            self.body["status"] = "incomplete"
            self.body["incomplete_details"] = {"reason": "interrupted"}
        elif error is not None:
            self.body["status"] = "failed"
            self.body["error"] = {"code": error.code or "server_error", "message": error.message}
        else:
            self.body["status"] = "incomplete"
            why = "max_output_tokens" if reason == "length" else reason
            self.body["incomplete_details"] = {"reason": why}
        yield self._frame(f"response.{self.body['status']}", response=self.body)
