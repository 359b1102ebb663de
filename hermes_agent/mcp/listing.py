"""Takes apart what servers list, so that one malformed item does not hide the others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import mcp_types as types
from mcp_types import methods
from pydantic import TypeAdapter, ValidationError

Rejected: TypeAlias = dict[str, str]
"""Name of a tool to why it cannot be offered."""

MAX_TOOLS = 2000
MAX_DESCRIPTION = 20_000

_BLOCK: TypeAdapter[types.ContentBlock] = TypeAdapter(types.ContentBlock)
_KNOWN_BLOCKS = frozenset({"text", "image", "audio", "resource", "resource_link"})


def sift(raw: dict[str, Any], rejected: Rejected, version: str) -> dict[str, Any]:
    """A `tools/list` result without tools that break the protocol; those go to `rejected`."""
    listed = raw.get("tools")
    if not isinstance(listed, list):
        return {**raw, "tools": []}
    kept = []
    for index, tool in enumerate(listed[:MAX_TOOLS]):
        problem = _problem(tool, raw, version)
        if problem is None:
            kept.append(tool)
        else:
            name = tool.get("name") if isinstance(tool, Mapping) else None
            rejected[str(name or f"tool {index + 1}")[:128]] = problem
    for tool in listed[MAX_TOOLS:]:
        rejected[str(tool.get("name") if isinstance(tool, Mapping) else tool)[:128]] = "too many tools"
    return {**raw, "tools": kept}


def _problem(tool: Any, raw: dict[str, Any], version: str) -> str | None:
    if not isinstance(tool, Mapping):
        return "it is not an object"
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 256:
        return "it has no usable name"
    if len(str(tool.get("description") or "")) > MAX_DESCRIPTION:
        return "its description is too long"
    try:
        # As the session will: the rules differ between versions of the protocol.
        with contextlib.suppress(KeyError):
            methods.validate_server_result("tools/list", version, {**raw, "tools": [tool]})
        types.Tool.model_validate(tool, by_name=False)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("tools", 0))
        return f"{place}: {first['msg']}"
    return None


def sift_content(raw: dict[str, Any]) -> dict[str, Any]:
    """A `tools/call` result whose blocks of unknown kinds are shown as JSON."""
    blocks = raw.get("content")
    if not isinstance(blocks, list):
        if "content" not in raw and "structuredContent" in raw:
            return {**raw, "content": []}
        return raw
    if all(isinstance(block, Mapping) and _fits(block) for block in blocks):
        return raw
    return {
        **raw,
        "content": [
            block
            if isinstance(block, Mapping) and _fits(block)
            else {"type": "text", "text": json.dumps(block, ensure_ascii=False, default=str)}
            for block in blocks
        ],
    }


def _fits(block: Mapping[str, Any]) -> bool:
    if block.get("type") == "text":
        return isinstance(block.get("text"), str)
    if block.get("type") not in _KNOWN_BLOCKS:
        return False
    try:
        _BLOCK.validate_python(block, by_name=False)
    except ValidationError:
        return False
    return True
