"""Writes the bodies of chat completions requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hermes_agent.core.errors import ContextOverflowError, ModelRequestError
from hermes_agent.core.messages import AssistantMessage, ImagePart, Part, TextPart
from hermes_agent.core.model import ModelRequest
from hermes_agent.models.encoding import (
    ConversationEncoder,
    Group,
    call_arguments,
    canonical_schema,
    dumps,
)
from hermes_agent.models.endpoint import Endpoint

CACHE_MARKS = 3
"""Newest wire messages that get a cache mark, besides the system prompt (providers allow four)."""

_LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
_OPTIONAL = (
    "stream_options",
    "prompt_cache_key",
    "reasoning_effort",
    "enable_thinking",
    "thinking",
    "reasoning",
    "usage",
)
"""Settings that a server may refuse to know; left out from then on."""


class RequestWriter:
    """Writes request bodies: settings first, then tools, then the conversation, so that it only grows."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._encoder = ConversationEncoder(self._group, self._constant)
        self._limit_name: str = endpoint.profile.max_tokens_name
        self._refused: set[str] = set()
        self._sent: set[str] = set()

    def learn(self, error: ModelRequestError) -> bool:
        """Leave out (or rename) a setting that the server has just refused by name.

        Returns:
            Whether the next body will differ, so that asking again makes sense.
        """
        text = error.why or ""
        other = next(name for name in _LIMIT_NAMES if name != self._limit_name)
        if error.status not in (400, 422) or isinstance(error, ContextOverflowError):
            return False
        if self._limit_name in text and other in text and "limit" not in self._refused:
            self._limit_name = other
            self._refused.add("limit")  # renamed once; not to and fro
            return True
        sent = self._sent - self._refused
        name = next((each for each in _OPTIONAL if each in sent and re.search(rf"\b{each}\b", text)), None)
        if name is None:
            return False
        self._refused.add(name)
        return True

    def write(self, request: ModelRequest) -> bytes:
        """The body of a request."""
        system, tools, conversation = self._encoder.encode(request)
        items = conversation.items
        if self._endpoint.profile.cache_envelope:
            items = self._marked(conversation.groups, items)
        head = dumps(self._settings(request))[:-1]
        parts = [system, *items] if system else items
        return b"".join((head, tools, b',"messages":[', b",".join(parts), b"]}"))

    def _settings(self, request: ModelRequest) -> dict[str, Any]:
        endpoint, profile = self._endpoint, self._endpoint.profile
        settings: dict[str, Any] = {
            "model": endpoint.info.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        limit = request.max_output_tokens or endpoint.max_output_tokens
        if limit:
            settings[self._limit_name] = limit
        effort = request.reasoning_effort or endpoint.reasoning_effort
        if effort:
            settings.update(_reasoning(profile.reasoning, effort))
        if profile.supports_prompt_cache_key and request.session_id:
            settings["prompt_cache_key"] = request.session_id
        if profile.reports_cost:
            settings["usage"] = {"include": True}
        settings.update(endpoint.extra_body)
        self._sent = set(settings)
        return {name: value for name, value in settings.items() if name not in self._refused}

    def _constant(self, request: ModelRequest) -> tuple[bytes, bytes]:
        profile = self._endpoint.profile
        system = b""
        if request.system:
            content: object = request.system
            if profile.cache_envelope:
                content = [{"type": "text", "text": request.system, "cache_control": self._mark}]
            system = dumps({"role": profile.system_role, "content": content})
        if not request.tools:
            return system, b""
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": canonical_schema(tool.parameters),
                },
            }
            for tool in request.tools
        ]
        return system, b',"tools":' + dumps(tools)

    def _group(self, group: Group) -> list[dict[str, Any]]:
        if isinstance(group, AssistantMessage):
            return [self._assistant(group)]
        sees = self._endpoint.info.supports_images
        written: list[dict[str, Any]] = []
        images: list[ImagePart] = []
        for result in group.results:
            text = result.text
            if result.images and not sees:
                text += f"\n{unseen_images(len(result.images))}"
            written.append({"role": "tool", "tool_call_id": result.tool_call_id, "content": text})
            images.extend(result.images if sees else ())
        parts: list[Part] = [part for user in group.users for part in user.parts]
        if images:
            parts = [TextPart("[Images from the tool results above]"), *images, *parts]
        if parts:
            written.append({"role": "user", "content": _content(parts, sees=sees)})
        return written

    def _assistant(self, message: AssistantMessage) -> dict[str, Any]:
        profile = self._endpoint.profile
        written: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        if message.tool_calls:
            written["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call_arguments(call)},
                }
                for call in message.tool_calls
            ]
            if profile.echo_reasoning:
                written["reasoning_content"] = message.reasoning or " "
        data = message.provider_data or {}
        if data.get("origin") == self._endpoint.info.label:
            if profile.echo_reasoning_details and data.get("reasoning_details"):
                written["reasoning_details"] = data["reasoning_details"]
            extras = data.get("call_extras") or {}
            for call in written.get("tool_calls", ()):
                if call["id"] in extras:
                    call["extra_content"] = extras[call["id"]]
        return written

    @property
    def _mark(self) -> dict[str, str]:
        ttl = self._endpoint.cache_ttl
        return {"type": "ephemeral", "ttl": ttl} if ttl != "5m" else {"type": "ephemeral"}

    def _marked(self, groups: Sequence[Group], items: Sequence[bytes]) -> list[bytes]:
        """The items with cache marks on the last ones that have content."""
        written: list[dict[str, Any]] = []
        for group in reversed(groups):
            written = [*self._group(group), *written]
            if len(written) >= CACHE_MARKS:
                break
        newest = written[-CACHE_MARKS:]
        for message in newest:
            content = message["content"]
            if isinstance(content, str) and content:
                content = message["content"] = [{"type": "text", "text": content}]
            if content:
                content[-1] = {**content[-1], "cache_control": self._mark}
        return [*items[: len(items) - len(newest)], *map(dumps, newest)]


def _reasoning(style: str, effort: str) -> dict[str, Any]:
    if style == "effort":
        return {"reasoning_effort": effort}
    if style == "nested":
        return {"reasoning": {"enabled": False} if effort == "none" else {"effort": effort}}
    if style == "thinking_type":
        return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}
    if style == "enable_thinking":
        return {"enable_thinking": effort != "none"}
    return {}


def unseen_images(count: int) -> str:
    """What a model without eyes is told instead of images."""
    return f"[{count} image(s) left out: this model cannot see images.]"


def _content(parts: Sequence[Part], *, sees: bool) -> str | list[dict[str, Any]]:
    images = [part for part in parts if isinstance(part, ImagePart)]
    if not images or not sees:
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        return "\n\n".join([*texts, unseen_images(len(images))] if images else texts)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": image_url(part)}}
        for part in parts
    ]


def image_url(image: ImagePart) -> str:
    """The image's address: its own, or a data URL."""
    return image.url or f"data:{image.media_type};base64,{image.data or ''}"
