"""Arguments of slash commands that depend on settings and stored conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hermes_agent.agent.personalities import PRESETS
from hermes_agent.cli.chat.completion import SKILLS, Values
from hermes_agent.core.loading import load

if TYPE_CHECKING:
    from hermes_agent.cli.chat.conversation import Conversation

_STORE_SECONDS = 2.0


def completion_values(conversation: Conversation) -> Mapping[str, Values]:
    """Values by command name; each is called in a completion thread."""
    loop = asyncio.get_running_loop()

    def personalities() -> Sequence[tuple[str, str]]:
        own = conversation.app.settings.agent.personalities
        return [("none", "the normal way of talking"), *sorted({**PRESETS, **own}.items())]

    def sessions() -> Sequence[tuple[str, str]]:
        async def read() -> Sequence[tuple[str, str]]:
            store = await conversation.app.store()
            records = await store.list(limit=30)
            return [(record.id, record.title or record.preview) for record in records]

        try:
            return asyncio.run_coroutine_threadsafe(read(), loop).result(_STORE_SECONDS)
        except TimeoutError:
            return []

    def models() -> Sequence[tuple[str, str]]:
        providers = load("hermes_agent.models.catalogue:PROVIDERS")
        settings = conversation.app.settings
        own = [(f"custom:{entry.name}:", entry.base_url) for entry in settings.custom_providers]
        aliases = [(name, target) for name, target in settings.model_aliases.items()]
        return [*aliases, *own, *((f"{provider.id}:", provider.label) for provider in providers)]

    def skills() -> Sequence[tuple[str, str]]:
        found = conversation.app.learning.skills.usable().skills
        return [(skill.name, skill.front.description) for skill in found]

    return {SKILLS: skills, "personality": personalities, "resume": sessions, "model": models}
