"""One question to a model beside the conversation."""

from __future__ import annotations

from hermes_agent.core.errors import ModelResponseError
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.model import Model, ModelReply, ModelRequest, Spend


async def ask(model: Model, prompt: str, question: str, *, max_output_tokens: int, spend: Spend) -> str:
    """The answer, never empty.

    Args:
        model: Who is asked.
        prompt: What it is to do.
        question: With all it may know.
        max_output_tokens: Of the answer.
        spend: Who pays.

    Raises:
        ModelError: There is none.
    """
    request = ModelRequest(prompt, [UserMessage.of(question)], max_output_tokens=max_output_tokens)
    async for event in model.stream(request):
        if isinstance(event, ModelReply):
            spend(event.usage, event.info)
            if event.message.text.strip() and event.message.finish_reason in ("stop", "length"):
                return event.message.text.strip()
            break
    raise ModelResponseError(f"{model.info.label} gave no summary")
