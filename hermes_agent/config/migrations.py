"""Older forms of config.yaml, brought up to date step by step.

Each step works on plain maps and on the comment-keeping maps of the editor alike, changes nothing if
there is nothing to change, and says what it did. The loader applies all of them in memory to whatever
it reads, so an old file always works; `hermes config migrate` writes them down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from hermes_agent.config.registry import CONFIG_VERSION, VERSION_KEY

Data = MutableMapping[str, Any]
Step = Callable[[Data], Iterator[str]]


def model_map(data: Data) -> Iterator[str]:
    """`model: name` becomes `model: {default: name}`; `model.name` and `model.model` become `default`."""
    model = data.get("model")
    if isinstance(model, str):
        data["model"] = {"default": model}
        yield "model: the name moved to model.default"
        return
    if isinstance(model, MutableMapping):
        for old in ("name", "model"):
            if isinstance(model.get(old), str) and not model.get("default"):
                model["default"] = model.pop(old)
                yield f"model.{old} became model.default"


def _root_model_keys(data: Data) -> Iterator[str]:
    """`provider`, `base_url`, `api_key` and `api_mode` at the top level belong to `model`."""
    for name in ("provider", "base_url", "api_key", "api_mode", "context_length"):
        value = data.get(name)
        if not isinstance(value, str | int):
            continue
        model = data.setdefault("model", {})
        if not isinstance(model, MutableMapping):
            continue
        del data[name]
        if not model.get(name):
            model[name] = value
        yield f"{name} moved to model.{name}"


def _max_turns(data: Data) -> Iterator[str]:
    """`max_turns` at the top level belongs to `agent`."""
    if not isinstance(data.get("max_turns"), int):
        return
    agent = data.setdefault("agent", {})
    if isinstance(agent, MutableMapping):
        value = data.pop("max_turns")
        agent.setdefault("max_turns", value)
        yield "max_turns moved to agent.max_turns"


def _fallback_model(data: Data) -> Iterator[str]:
    """`fallback_model`, one map or a list, becomes `fallback_providers`."""
    legacy = data.get("fallback_model")
    given = legacy if isinstance(legacy, list) else [legacy]
    items = [item for item in given if isinstance(item, MutableMapping)]
    if not items or len(items) < len(given):
        return
    chain = data.setdefault("fallback_providers", [])
    if not isinstance(chain, list):
        return
    del data["fallback_model"]
    for item in items:
        if item.get("provider") and item.get("model") and item not in chain:
            chain.append(item)
    yield "fallback_model became an element of fallback_providers"


def _guardrails(data: Data) -> Iterator[str]:
    """Nested limits of `tool_loop_guardrails` become flat keys."""
    section = data.get("tool_loop_guardrails")
    if not isinstance(section, MutableMapping):
        return
    names = {
        "exact_failure": "same_call_failures",
        "same_tool_failure": "same_tool_failures",
        "idempotent_no_progress": "no_progress",
    }
    for old, prefix in (("warn_after", "warn"), ("hard_stop_after", "stop")):
        limits = section.get(old)
        if not isinstance(limits, MutableMapping):
            continue
        for name, new in names.items():
            if name in limits:
                section.setdefault(f"{prefix}_{new}", limits[name])
        del section[old]
        yield f"tool_loop_guardrails.{old} became flat keys"
    if "hard_stop_enabled" in section:
        section.setdefault("stop_enabled", section["hard_stop_enabled"])
        del section["hard_stop_enabled"]
        yield "tool_loop_guardrails.hard_stop_enabled became stop_enabled"


def _custom_provider_lists(data: Data) -> Iterator[str]:
    """`custom_providers` as a map becomes a list of elements with a name."""
    section = data.get("custom_providers")
    if isinstance(section, MutableMapping) and all(
        isinstance(item, MutableMapping) for item in section.values()
    ):
        data["custom_providers"] = [{"name": name, **item} for name, item in section.items()]
        yield "custom_providers became a list"


def _tool_progress_words(data: Data) -> Iterator[str]:
    """`display.tool_progress: true|false` becomes a word."""
    display = data.get("display")
    if isinstance(display, MutableMapping) and isinstance(display.get("tool_progress"), bool):
        display["tool_progress"] = "all" if display["tool_progress"] else "off"
        yield "display.tool_progress became a word"


def _words_that_were_booleans(data: Data) -> Iterator[str]:
    """Older files were written by a program that read `off` as false."""
    for section, name in (("approvals", "mode"), ("display", "background_process_notifications")):
        values = data.get(section)
        if isinstance(values, MutableMapping) and values.get(name) is False:
            values[name] = "off"
            yield f"{section}.{name}: false became off"


def _reset_lists(data: Data) -> Iterator[str]:
    """Reset policies of the old gateway file move into `session_reset`."""
    for old, new in (
        ("reset_by_platform", "by_platform"),
        ("reset_by_type", "by_type"),
        ("reset_triggers", "triggers"),
    ):
        if old not in data:
            continue
        section = data.setdefault("session_reset", {})
        if isinstance(section, MutableMapping):
            section.setdefault(new, data[old])
            del data[old]
            yield f"{old} moved to session_reset.{new}"


STEPS: tuple[tuple[int, Step], ...] = (
    (5, _max_turns),
    (9, _root_model_keys),
    (10, model_map),
    (13, _custom_provider_lists),
    (16, _tool_progress_words),
    (19, _reset_lists),
    (22, _fallback_model),
    (26, _guardrails),
    (29, _words_that_were_booleans),
)
"""Version that a step leads to, and the step. Every step is tried on every file: people copy old
lines into new files."""


def version_of(data: Data) -> int:
    """The version a file says it has; 0 if it says nothing."""
    version = data.get(VERSION_KEY)
    return version if isinstance(version, int) and not isinstance(version, bool) else 0


def upgrade(data: Data) -> list[str]:
    """Apply all steps in place; twice is once.

    Returns:
        What was changed, for people; empty if nothing was.
    """
    notes = [note for _version, step in STEPS for note in step(data)]
    if data and version_of(data) < CONFIG_VERSION:
        data[VERSION_KEY] = CONFIG_VERSION
    return notes
