"""Reading SKILL.md: the front matter is checked, everything after it is the instructions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermes_agent.core.loading import load

MAX_CHARS = 100_000
"""Of a SKILL.md."""
MAX_HEAD_CHARS = 20_000
"""Of its front matter."""
MAX_DESCRIPTION = 1_024

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_BLOCK = re.compile(r"\A\ufeff?---[ \t]*\n(?P<head>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"(?P<key>[a-z_]+): +(?P<value>[A-Za-z][A-Za-z0-9 ,.;()/'+-]*)")
"""A line that means the same without a YAML reader."""


class SkillFormatError(ValueError):
    """A SKILL.md is not valid; the text says why, for people and models."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a SKILL.md says of itself. Fields that nobody uses are not kept."""

    name: str
    description: str
    version: str = ""
    category: str = ""
    platforms: frozenset[str] = frozenset()
    requires_tools: frozenset[str] = frozenset()
    requires_toolsets: frozenset[str] = frozenset()
    fallback_for_tools: frozenset[str] = frozenset()
    fallback_for_toolsets: frozenset[str] = frozenset()
    required_env: tuple[str, ...] = ()


def parse(text: str) -> tuple[FrontMatter, str]:
    """Front matter and instructions of a SKILL.md.

    Raises:
        SkillFormatError: There is no front matter, it is no YAML map, or a field is wrong.
    """
    if len(text) > MAX_CHARS:
        raise SkillFormatError(f"SKILL.md has {len(text):,} characters, {MAX_CHARS:,} are allowed")
    text = text.replace("\r\n", "\n")
    match = _BLOCK.match(text)
    if match is None:
        raise SkillFormatError("SKILL.md must begin with a front matter: ---, name, description, ---")
    body = text[match.end() :].strip()
    if not body:
        raise SkillFormatError("SKILL.md has no instructions below its front matter")
    return _fields(_load(match["head"])), body


def _load(head: str) -> Mapping[str, Any]:
    if len(head) > MAX_HEAD_CHARS:
        raise SkillFormatError(f"the front matter is longer than {MAX_HEAD_CHARS:,} characters")
    lines = [line for line in head.split("\n") if line.strip()]
    plain = [_PLAIN.fullmatch(line) for line in lines]
    if all(plain):
        return {match["key"]: match["value"].strip() for match in plain if match}
    # YAML takes longer to import than all plain front matters take to read.
    data = load("hermes_agent.skills.front_yaml:read")(head)
    if not isinstance(data, dict):
        raise SkillFormatError("the front matter must be a map of fields")
    return data


def _fields(data: Mapping[str, Any]) -> FrontMatter:
    name = data.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SkillFormatError(
            f"name must match [a-z0-9][a-z0-9._-]*, at most 64 characters; it is {name!r}"[:200]
        )
    description = " ".join(str(data.get("description") or "").split())
    if not description:
        raise SkillFormatError("description is missing: it says when the skill is used")
    if len(description) > MAX_DESCRIPTION:
        raise SkillFormatError(
            f"description has {len(description):,} characters, {MAX_DESCRIPTION:,} are allowed"
        )
    metadata = data.get("metadata")
    own = metadata.get("hermes") if isinstance(metadata, dict) else None
    own = own if isinstance(own, dict) else {}
    return FrontMatter(
        name=name,
        description=description,
        version=str(data.get("version") or ""),
        category=str(own.get("category") or ""),
        platforms=_words(data.get("platforms")),
        requires_tools=_words(own.get("requires_tools")),
        requires_toolsets=_words(own.get("requires_toolsets")),
        fallback_for_tools=_words(own.get("fallback_for_tools")),
        fallback_for_toolsets=_words(own.get("fallback_for_toolsets")),
        required_env=_variables(data.get("required_environment_variables")),
    )


def _words(value: object) -> frozenset[str]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return frozenset()
    return frozenset(str(item).strip() for item in value if isinstance(item, str | int) and str(item).strip())


def _variables(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    names = [item.get("name") if isinstance(item, dict) else item for item in value]
    return tuple(name for name in names if isinstance(name, str) and _ENV_NAME.fullmatch(name))
