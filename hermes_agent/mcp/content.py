"""What servers send as results, in the form of tool results: text and images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import mcp_types as types

from hermes_agent.core.messages import ImagePart
from hermes_agent.core.tool import ToolResult

MAX_IMAGE_CHARS = 8_000_000
"""Longer base64 is refused by every provider."""
MAX_IMAGES = 20
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class Collected:
    """Text and images of one result, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images: list[ImagePart] = []

    def add_image(self, data: str, media_type: str) -> None:
        """Keep an image, or a word about it if no model could be shown it."""
        if media_type not in IMAGE_TYPES:
            self.texts.append(f"[an image of type {media_type}, which cannot be shown]")
        elif len(data) > MAX_IMAGE_CHARS or len(self.images) >= MAX_IMAGES:
            self.texts.append(f"[an image of {len(data) * 3 // 4:,} bytes, left out: too large or too many]")
        else:
            self.images.append(ImagePart(media_type, data))

    def add_resource(
        self, resource: types.TextResourceContents | types.BlobResourceContents, *, named: bool
    ) -> None:
        """Keep the contents of a resource."""
        if isinstance(resource, types.TextResourceContents):
            self.texts.append(f"[resource {resource.uri}]\n{resource.text}" if named else resource.text)
        elif (resource.mime_type or "").startswith("image/"):
            self.add_image(resource.blob, resource.mime_type or "")
        else:
            size = len(resource.blob) * 3 // 4
            kind = resource.mime_type or "unknown type"
            self.texts.append(f"[resource {resource.uri}: {size:,} bytes of {kind}, not text]")

    def add(self, block: types.ContentBlock) -> None:
        """Keep one block."""
        if isinstance(block, types.TextContent):
            self.texts.append(block.text)
        elif isinstance(block, types.ImageContent):
            self.add_image(block.data, block.mime_type)
        elif isinstance(block, types.AudioContent):
            self.texts.append(f"[audio: {len(block.data) * 3 // 4:,} bytes of {block.mime_type}]")
        elif isinstance(block, types.EmbeddedResource):
            self.add_resource(block.resource, named=True)
        else:
            about = f": {block.description}" if block.description else ""
            self.texts.append(f"[link to resource {block.uri} ({block.name}){about}]")

    def result(self, *, is_error: bool = False) -> ToolResult:
        """All of it."""
        text = "\n".join(self.texts)
        if not text and self.images:
            text = f"({len(self.images)} image{'s' if len(self.images) > 1 else ''})"
        return ToolResult(
            text or "(no output)", is_error, tuple(self.images), summary=_summary(text, is_error)
        )


def from_call(result: types.CallToolResult) -> ToolResult:
    """What a tool call gave. Structured content is added if the text does not say the same."""
    collected = Collected()
    for block in result.content:
        collected.add(block)
    structured = result.structured_content
    if structured is not None and not _says(collected.texts, structured):
        collected.texts.append(json.dumps(structured, ensure_ascii=False))
    return collected.result(is_error=bool(result.is_error))


def from_resource(result: types.ReadResourceResult) -> ToolResult:
    """The contents of a resource."""
    collected = Collected()
    for content in result.contents:
        collected.add_resource(content, named=len(result.contents) > 1)
    return collected.result()


def from_prompt(result: types.GetPromptResult) -> ToolResult:
    """The messages of a prompt."""
    collected = Collected()
    if result.description:
        collected.texts.append(result.description)
    for message in result.messages:
        collected.texts.append(f"[{message.role}]")
        collected.add(message.content)
    return collected.result()


def from_resources(
    resources: Iterable[types.Resource], templates: Iterable[types.ResourceTemplate]
) -> ToolResult:
    """A list of resources and templates as JSON, one a line."""
    rows = [
        *(
            _row(uri=item.uri, name=item.name, description=item.description, type=item.mime_type)
            for item in resources
        ),
        *(
            _row(template=item.uri_template, name=item.name, description=item.description)
            for item in templates
        ),
    ]
    return _listed(rows, "resources")


def from_prompts(prompts: Iterable[types.Prompt]) -> ToolResult:
    """A list of prompts as JSON, one a line."""
    rows = [
        _row(
            name=prompt.name,
            description=prompt.description,
            arguments=[
                _row_values(name=item.name, description=item.description, required=item.required)
                for item in prompt.arguments or ()
            ]
            or None,
        )
        for prompt in prompts
    ]
    return _listed(rows, "prompts")


def _listed(rows: Sequence[str], what: str) -> ToolResult:
    return ToolResult("\n".join(rows) or f"(no {what})", summary=f"{len(rows)} {what}")


def _row_values(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "")}


def _row(**values: Any) -> str:
    return json.dumps(_row_values(**values), ensure_ascii=False, default=str)


def _says(texts: Sequence[str], structured: Any) -> bool:
    """Whether a text is the JSON of this value (servers send both for older clients)."""
    wanted = (
        next(iter(structured.values())) if isinstance(structured, dict) and len(structured) == 1 else None
    )
    for text in texts:
        if isinstance(wanted, str) and text == wanted:
            return True
        if text[:1] in '{["0123456789tfn-':
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if value == structured or (wanted is not None and value == wanted):
                return True
    return False


def _summary(text: str, is_error: bool) -> str:
    if is_error:
        return "error"
    lines = text.count("\n") + 1 if text else 0
    return (
        text
        if lines == 1 and len(text) <= 60
        else f"{lines} lines"
        if lines != 1
        else f"{len(text)} characters"
    )
