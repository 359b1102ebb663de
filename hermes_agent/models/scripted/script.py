"""The script format: typed, immutable, checked. `source` reads it from YAML, `player` follows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hermes_agent.models.scripted.answer import ScriptFinishReason
from hermes_agent.models.scripted.template import check_templates, check_value

FOREVER: Literal["forever"] = "forever"
DEFAULT_GARBAGE = 'data: {"choices": [{"delta": ⟂\x00 this is not JSON\n\n'


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def _after_events(value: object) -> object:
    """`3` means `{after_events: 3}`."""
    return {"after_events": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _cut(value: object) -> object:
    return {"in_tool_call": True} if value == "tool_call" else _after_events(value)


def _hang(value: object) -> object:
    return {"after_events": None} if value is True else _after_events(value)


def _garbage(value: object) -> object:
    if value is True:
        return {}
    return {"data": value} if isinstance(value, str | bytes) else _after_events(value)


def _error(value: object) -> object:
    """`503` means `{status: 503}`."""
    return {"status": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _usage(value: object) -> object:
    return {"reported": False} if value == "none" or value is False else value


Regex = Annotated[str, AfterValidator(_regex)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
Template = Annotated[str, AfterValidator(check_templates)]
Templates = Annotated[tuple[Template, ...], BeforeValidator(_one_or_many)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class When(_Part):
    """Conditions on a request; all that are given must hold.

    Texts are regular expressions, searched without regard to case.
    """

    after: Literal["user", "tool"] | None = None
    """What the conversation ends with: a user message or a tool result."""
    user: Regex | None = None
    """The last user message."""
    tool_result: Regex | None = None
    """The last tool result of the present run."""
    tool: str | None = None
    """Name of the tool that gave the last result of the present run."""
    system: Regex | None = None
    """The system prompt."""
    model: Regex | None = None
    """The model's name, as a whole."""
    messages: int | None = None
    """Number of messages, without the system prompt."""
    min_messages: int | None = None
    """At least so many."""
    max_messages: int | None = None
    """At most so many."""
    round: int | None = None
    """Rounds of tool calls since the last user message; 0 for the first request of a run."""
    offers: Strings = ()
    """Tools that are on offer."""


class Expect(_Part):
    """Assertions on a request; one that does not hold is reported, the answer is sent all the same."""

    contains: Strings = ()
    """Texts that occur in some message."""
    not_contains: Strings = ()
    """Texts that occur in no message, nor in the system prompt."""
    system_contains: Strings = ()
    """Texts that occur in the system prompt."""
    user: Regex | None = None
    """The last user message."""
    tool_result: Regex | None = None
    """The last tool result of the present run."""
    has_tool: Strings = ()
    """Tools that are on offer."""
    lacks_tool: Strings = ()
    """Tools that are not on offer."""
    messages: int | None = None
    """Number of messages, without the system prompt."""
    model: Regex | None = None
    """The model's name, as a whole."""
    stream: bool | None = None
    """Whether a stream was asked for."""
    min_cached_tokens: int | None = None
    """Tokens of the prompt that an earlier request of the session had already sent."""
    headers: Mapping[str, Regex] = Field(default_factory=dict)
    """Request headers (server only)."""
    body: Mapping[str, Any] = Field(default_factory=dict)
    """Values in the JSON body by dotted path (server only); null also means absent."""


class ToolCallScript(_Part):
    """One tool call of an answer."""

    name: str
    """Name of the tool; it need not exist."""
    arguments: dict[str, Any] | Template = Field(default_factory=dict)
    """A map, or text that is sent as it is, however broken."""
    id: str | None = None
    """Call id; made up if it is not given."""
    chunk_size: int | None = Field(default=None, ge=1)
    """Characters per streamed piece of the arguments; default: the answer's `chunk_size`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.arguments, dict):
            check_value(self.arguments)
        return self


class UsageScript(_Part):
    """Token numbers; those that are not given are computed from the request and the answer."""

    input_tokens: int | None = Field(default=None, ge=0)
    """Whole prompt, including what came from the cache."""
    output_tokens: int | None = Field(default=None, ge=0)
    """Whole answer, including reasoning."""
    cache_read_tokens: int | None = Field(default=None, ge=0)
    """Prompt tokens from the cache."""
    cache_write_tokens: int | None = Field(default=None, ge=0)
    """Prompt tokens written to the cache."""
    reasoning_tokens: int | None = Field(default=None, ge=0)
    """Reasoning tokens of the answer."""
    reported: bool = True
    """False (or `usage: none`) reports no usage at all."""


class ErrorScript(_Part):
    """An HTTP error."""

    status: int = Field(ge=400, le=599)
    """HTTP status."""
    message: Template = "scripted error"
    """Text in the error body."""
    type: str = ""
    """Type in the error body."""
    code: str | None = None
    """Code in the error body, for example `context_length_exceeded`."""
    body: Any = None
    """Sent instead of the dialect's error body: a map or list as JSON, text as it is."""
    headers: dict[str, str | int | float] = Field(default_factory=dict)
    """Response headers, for example `Retry-After: 2`."""


class CutScript(_Part):
    """The stream ends too early."""

    after_events: int | None = Field(default=None, ge=0)
    """Pieces (of reasoning, text, tool calls and their arguments) that are sent before."""
    in_tool_call: bool = False
    """End in the middle of the first tool call's arguments."""
    clean: bool = False
    """End the HTTP response properly, as a proxy does; otherwise the connection breaks."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.after_events is None) != self.in_tool_call:
            raise ValueError("say either after_events or in_tool_call")
        return self


class HangScript(_Part):
    """Nothing more comes, and the connection stays open."""

    after_events: int | None = Field(default=None, ge=0)
    """Pieces that are sent before; null sends nothing at all, not even the response's head."""


class GarbageScript(_Part):
    """Bytes that are no event; the response ends after them."""

    after_events: int = Field(default=0, ge=0)
    """Pieces that are sent before."""
    data: str | bytes = DEFAULT_GARBAGE
    """What is sent; `!!binary` gives any bytes."""


class AnswerScript(_Part):
    """What is answered."""

    text: Templates = ()
    """The visible answer; a list gives the streamed pieces."""
    reasoning: Templates = ()
    """Readable reasoning; a list gives the streamed pieces."""
    tool_calls: tuple[ToolCallScript, ...] = ()
    """Tool calls."""
    finish_reason: ScriptFinishReason | None = None
    """Default: `tool_calls` if there are any, else `stop`. `missing` reports none."""
    usage: Annotated[UsageScript, BeforeValidator(_usage)] = UsageScript()
    """Token numbers, or `none`."""
    error: Annotated[ErrorScript | None, BeforeValidator(_error)] = None
    """Answer with an HTTP error; a number is its status."""
    cut: Annotated[CutScript | None, BeforeValidator(_cut)] = None
    """End the stream early: a number of pieces, `tool_call`, or a map."""
    hang: Annotated[HangScript | None, BeforeValidator(_hang)] = None
    """Stop sending: `true`, a number of pieces, or a map."""
    garbage: Annotated[GarbageScript | None, BeforeValidator(_garbage)] = None
    """Send nonsense: `true`, the nonsense, a number of pieces, or a map."""
    builtin: str | None = None
    """Answer as the built-in script of this name does (`echo`, `demo`, `tools-3` …)."""
    chunk_size: int | None = Field(default=None, ge=1)
    """Characters per streamed piece; null streams each text whole."""
    delay_seconds: Seconds | None = None
    """Wait before the first byte."""
    chunk_delay_seconds: Seconds | None = None
    """Wait between two pieces."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of a chat completion's message, for example `reasoning_details`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = [name for name in ("error", "cut", "hang", "garbage") if getattr(self, name) is not None]
        if len(faults) > 1:
            raise ValueError(f"only one of {', '.join(faults)} can happen to one answer")
        if self.cut and self.cut.in_tool_call and not self.tool_calls:
            raise ValueError("cut: tool_call needs tool_calls")
        return self


class Step(AnswerScript):
    """An answer, and when it is given."""

    name: str = ""
    """Shown in reports."""
    when: When | None = None
    """Conditions; a step that does not match is passed over and stays in the list."""
    expect: Expect | None = None
    """Assertions on the request."""
    times: Annotated[int, Field(ge=1)] | Literal["forever"] | None = None
    """How often; default: a step once, a rule forever."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, Mapping) and "match" in value and "when" not in value:
            return {("when" if key == "match" else key): item for key, item in value.items()}
        return value


class Defaults(_Part):
    """Values for answers that do not give their own."""

    chunk_size: int | None = Field(default=None, ge=1)
    """Characters per streamed piece."""
    delay_seconds: Seconds = 0.0
    """Wait before the first byte."""
    chunk_delay_seconds: Seconds = 0.0
    """Wait between two pieces."""


class Script(_Part):
    """A whole script: `steps` are used up in order, then `rules` answer; or a plain list of steps."""

    model: str = "scripted"
    """Name in `/v1/models`; requests for other names are answered all the same."""
    context_window: int = Field(default=128_000, ge=1)
    """Tokens, as reported in `/v1/models`."""
    api_key: str | None = None
    """If given, requests without this key get 401."""
    defaults: Defaults = Defaults()
    """Values for answers that do not give their own."""
    steps: tuple[Step, ...] = ()
    """One answer each, first fitting first."""
    rules: tuple[Step, ...] = ()
    """Answers of requests for which no step is left: the first rule that matches."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        return {"steps": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.steps and not self.rules:
            raise ValueError("a script needs steps or rules")
        return self
