"""Asks the next provider when the first one cannot answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from hermes_agent.core.errors import MissingExtraError, ModelError, ModelRequestError
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest, ReplyRestarted
from hermes_agent.models.retry import reason_of
from hermes_agent.models.streams import open_stream

MAX_SESSIONS = 64


class FallbackModel:
    """Tries models in order until one answers.

    Which failures the first model retries before it gives up is its own affair: refusals come at
    once, passing failures after its retries. A refused request (other 4xx, a conversation that is
    too long) is not taken elsewhere: it is the request that must change. Within a run (while tools
    answer) the model that answered stays; the next input starts with the first model again.

    Args:
        models: The first is the one the user chose. At least one.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = tuple(models)
        self._answering: OrderedDict[str, int] = OrderedDict()

    @property
    def info(self) -> ModelInfo:
        """The model the user chose."""
        return self._models[0].info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request to the first model that can answer, and stream its reply.

        Raises:
            ModelError: The first model's failure, if nobody else can answer; `why` says what the others said.
        """
        start = self._start(request)
        failures: list[ModelError] = []
        for place in range(start, len(self._models)):
            model = self._models[place]
            if place > start:
                yield ReplyRestarted(reason_of(failures[-1]), len(failures), 0.0, model.info)
            try:
                async with open_stream(model, request) as events:
                    async for event in events:
                        yield event
            except ModelRequestError:
                raise
            except ModelError as error:
                failures.append(error)
            except MissingExtraError as error:
                failures.append(ModelError(error.message, why=error.why, remedy=error.remedy))
            else:
                self._remember(request.session_id, place)
                return
        raise _all_failed(failures) from failures[-1]

    def _start(self, request: ModelRequest) -> int:
        if not request.messages or isinstance(request.messages[-1], UserMessage):
            return 0
        return self._answering.get(request.session_id, 0)

    def _remember(self, session_id: str, place: int) -> None:
        self._answering.pop(session_id, None)
        if place and session_id:
            self._answering[session_id] = place
            if len(self._answering) > MAX_SESSIONS:
                self._answering.popitem(last=False)

    async def aclose(self) -> None:
        """Release connections of all models."""
        for model in self._models:
            await model.aclose()


def _all_failed(failures: Sequence[ModelError]) -> ModelError:
    first = failures[0]
    if len(failures) == 1:
        return first
    others = "; ".join(error.message for error in failures[1:])
    return type(first)(
        first.message,
        status=first.status,
        retry_after_seconds=first.retry_after_seconds,
        partial_text=first.partial_text,
        diagnostics=first.diagnostics,
        why=f"{first.why or first.message}. The fallbacks failed too: {others}",
        remedy=first.remedy,
    )
