"""`ScriptedModel`: the `Model` port, played from a script. Records what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from hermes_agent.core.model import ModelEvent, ModelInfo, ModelRequest
from hermes_agent.models.scripted.playback import play
from hermes_agent.models.scripted.player import Player
from hermes_agent.models.scripted.prefix_cache import PrefixCache, request_pieces
from hermes_agent.models.scripted.seen import SeenRequest
from hermes_agent.models.scripted.source import ScriptSource, load_script


class ScriptedModel:
    """A `Model` that answers as written.

    Args:
        script: See `ScriptSource`: YAML text, a file, a list of steps (a plain string is a text answer).
            None follows the model's name (`echo`, `tools-3` …).
        info: Who to pretend to be.

    Raises:
        ConfigFileError: The script is wrong.
    """

    def __init__(self, script: ScriptSource | None = None, *, info: ModelInfo | None = None) -> None:
        loaded = None if script is None else load_script(script)
        self._info = info or ModelInfo(
            provider="scripted",
            model=loaded.model if loaded else "echo",
            dialect="scripted",
            context_window=loaded.context_window if loaded else 128_000,
        )
        self.player = Player(loaded)
        self._cache = PrefixCache()
        self.is_closed = False

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._info

    @property
    def requests(self) -> list[ModelRequest]:
        """What was asked, with the messages as they were at that time."""
        return [seen.request for seen in self.player.requests]

    @property
    def last_request(self) -> ModelRequest:
        """The newest request.

        Raises:
            IndexError: There was none.
        """
        return self.player.requests[-1].request

    def assert_complete(self) -> None:
        """Check that all steps were used and all expectations held.

        Raises:
            AssertionError: Otherwise; the message lists what is wrong.
        """
        self.player.assert_complete()

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Answer a request."""
        frozen = replace(request, messages=tuple(request.messages), tools=tuple(request.tools))
        use = self._cache.measure(request.session_id, request_pieces(frozen))
        seen = SeenRequest(
            number=len(self.player.requests) + 1,
            request=frozen,
            model=self._info.model,
            prompt_tokens=use.prompt_tokens,
            cached_tokens=use.read_tokens,
        )
        return play(self.player.answer(seen), self._info)

    async def aclose(self) -> None:
        """Nothing to release; remembers that it was called."""
        self.is_closed = True
