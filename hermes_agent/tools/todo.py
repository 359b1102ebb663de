"""`todo`: the agent's task list, restored from the conversation after a resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required, TypedDict

from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import tool
from hermes_agent.tools.setup import ToolSetup

MAX_ITEMS = 200
_MARKS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]", "cancelled": "[-]"}


class TodoItem(TypedDict):
    """One task."""

    id: str
    content: str
    status: Literal["pending", "in_progress", "completed", "cancelled"]


class TodoUpdate(TypedDict, total=False):
    """What a call may say of a task; a task of an unknown id needs `content`."""

    id: Required[str]
    content: str | None
    status: Literal["pending", "in_progress", "completed", "cancelled"] | None


@dataclass(slots=True)
class TodoList:
    """The session's tasks, in order of priority. Session state."""

    items: list[TodoItem] = field(default_factory=list)
    is_restored: bool = False

    def restore(self, history: Sequence[Message]) -> None:
        """Take up the list of an earlier process: the newest `todo` result in the conversation, once."""
        if self.is_restored:
            return
        self.is_restored = True
        called = {
            call.id
            for message in history
            if isinstance(message, AssistantMessage)
            for call in message.tool_calls
            if call.name == "todo"
        }
        for message in reversed(history):
            if isinstance(message, ToolMessage) and not message.is_error and message.tool_call_id in called:
                found = parse(message.text)
                if found is not None:
                    self.items = found
                    return

    def replace(self, updates: Iterable[TodoUpdate]) -> None:
        """Take these tasks instead; tasks known by id keep what the update leaves out."""
        self.items = list(self._updated(updates).values())

    def merge(self, updates: Iterable[TodoUpdate]) -> None:
        """Change tasks by id (only the fields that are given), append new ones."""
        changed = self._updated(updates)
        kept = {item["id"]: changed.pop(item["id"], item) for item in self.items}
        self.items = [*kept.values(), *changed.values()]

    def _updated(self, updates: Iterable[TodoUpdate]) -> dict[str, TodoItem]:
        found = {item["id"]: item for item in self.items}
        changed: dict[str, TodoItem] = {}
        for index, update in enumerate(updates):
            old = changed.get(update["id"]) or found.get(update["id"])
            content = update.get("content") or (old["content"] if old else None)
            if not content:
                raise ToolArgumentsError(
                    f"todos[{index}].content: missing, and no task has id {update['id']!r}"
                )
            status = update.get("status") or (old["status"] if old else "pending")
            changed[update["id"]] = TodoItem(id=update["id"], content=content, status=status)
        return changed

    def render(self) -> str:
        """JSON for the model; `parse` reads it back."""
        counts = ", ".join(
            f"{sum(item['status'] == status for item in self.items)} {status}"
            for status in _MARKS
            if any(item["status"] == status for item in self.items)
        )
        return json.dumps({"todos": self.items, "summary": counts or "no tasks"}, ensure_ascii=False)


def parse(text: str) -> list[TodoItem] | None:
    """The tasks in a rendered list; None if the text is something else."""
    try:
        found = json.loads(text)["todos"]
        return [
            TodoItem(id=str(item["id"]), content=str(item["content"]), status=item["status"])
            for item in found
            if item["status"] in _MARKS
        ]
    except (ValueError, TypeError, KeyError):
        return None


def build(_setup: ToolSetup) -> Tool:
    """The tool."""
    return todo


def _preview(arguments: Any) -> str:
    if arguments["todos"] is None:
        return "read"
    return ", ".join(
        f"{_MARKS.get(item.get('status') or '', '[ ]')} {item['content']}" for item in arguments["todos"]
    )


@tool(emoji="📋", toolset="todo", preview=_preview)
async def todo(
    todos: Annotated[list[TodoUpdate] | None, "Omit to read the list"] = None,
    merge: Annotated[bool, "Update by id and append, instead of replacing the list"] = False,
    *,
    context: ToolContext,
) -> ToolResult:
    """Keep a task list for work of three or more steps, in order of priority.

    Have one task in_progress at a time; mark it completed as soon as it is done.
    """
    tasks = context.session.state(TodoList)
    tasks.restore(context.session.history)
    if todos is not None:
        if len(todos) > MAX_ITEMS:
            raise ToolArgumentsError(f"todos: at most {MAX_ITEMS} tasks, got {len(todos)}")
        if merge:
            tasks.merge(todos)
        else:
            tasks.replace(todos)
    done = sum(item["status"] == "completed" for item in tasks.items)
    return ToolResult(tasks.render(), summary=f"{done} of {len(tasks.items)} done")
