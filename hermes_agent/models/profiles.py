"""Capability profiles as data: what a model at an endpoint can do and which habits it has.

`profile_for` is decided once per model and endpoint. Rules are tried in order and all that match
apply; later ones win. A rule matches by provider id, by host or by model name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from hermes_agent.core.model import DEFAULT_CONTEXT_WINDOW

ReasoningStyle = Literal["none", "effort", "nested", "thinking_type", "enable_thinking"]
"""How a chat completions endpoint is asked to think: not at all, `reasoning_effort`, OpenRouter's
`reasoning: {effort}`, `thinking: {type}`, or `enable_thinking: bool`."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Capabilities and habits.

    Attributes:
        context_window: Tokens.
        max_output_tokens: What to ask for where the dialect demands a number (Anthropic).
        supports_images: May be shown images.
        supports_tools: May be offered tools.
        echo_reasoning: Assistant messages with tool calls must carry `reasoning_content` on replay.
        echo_reasoning_details: `reasoning_details` are sent back as they came.
        checks_endings: The server reports `stop` for cut answers; judge by the text (`ends_naturally`).
        max_tokens_name: Name of the output limit in chat completions.
        reasoning: How to ask for reasoning effort in chat completions.
        supports_prompt_cache_key: Takes `prompt_cache_key`.
        cache_envelope: Takes Anthropic-style `cache_control` inside chat completions content.
        reports_cost: Takes `usage: {include: true}` and answers with a price.
        system_role: Role of the system prompt.
        headers: Sent with every request.
    """

    context_window: int = DEFAULT_CONTEXT_WINDOW
    max_output_tokens: int | None = None
    supports_images: bool = False
    supports_tools: bool = True
    echo_reasoning: bool = False
    echo_reasoning_details: bool = False
    checks_endings: bool = False
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    reasoning: ReasoningStyle = "none"
    supports_prompt_cache_key: bool = False
    cache_envelope: bool = False
    reports_cost: bool = False
    system_role: Literal["system", "developer"] = "system"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Changes for a matching endpoint. All given conditions must hold; `host` matches the end of the name."""

    changes: Mapping[str, Any]
    provider: str = ""
    host: str = ""
    model: str = ""

    def matches(self, provider: str, host: str, model: str) -> bool:
        return (
            (not self.provider or re.fullmatch(self.provider, provider) is not None)
            and (not self.host or host == self.host or host.endswith(f".{self.host}"))
            and (not self.model or re.search(self.model, model) is not None)
        )


def _window(model: str, tokens: int, **more: Any) -> _Rule:
    return _Rule({"context_window": tokens, **more}, model=model)


_SEES = {"supports_images": True}

_MODEL_RULES: tuple[_Rule, ...] = (
    _window(r"gpt-3\.5", 16_385),
    _window(r"gpt-4o|chatgpt-4o|gpt-4-turbo", 128_000, max_output_tokens=16_384, **_SEES),
    _window(r"gpt-4\.1", 1_047_576, max_output_tokens=32_768, **_SEES),
    _window(r"(^|/)o[134](-|$)", 200_000, max_tokens_name="max_completion_tokens", **_SEES),
    _window(r"gpt-5", 400_000, max_output_tokens=128_000, max_tokens_name="max_completion_tokens", **_SEES),
    _window(r"gpt-oss", 131_072),
    _window(r"claude", 200_000, max_output_tokens=32_000, **_SEES),
    _window(r"claude.*(opus-4-[5-9]|opus-4\.[5-9]|sonnet-4|haiku-4)", 200_000, max_output_tokens=64_000),
    _window(r"claude-3-(opus|haiku|sonnet)", 200_000, max_output_tokens=4_096),
    _window(r"claude-3[-.]5", 200_000, max_output_tokens=8_192),
    _window(r"gemini-(1\.5|2|3)", 1_048_576, max_output_tokens=65_536, **_SEES),
    _window(r"gemma-?3", 131_072, **_SEES),
    _window(r"gemma-?4", 262_144, **_SEES),
    _window(r"grok-4", 256_000, **_SEES),
    _window(r"grok-4(\.\d+)?-fast", 2_000_000),
    _window(r"grok-code", 256_000, supports_images=False),
    _window(r"grok-3", 131_072),
    _window(r"deepseek", 131_072),
    _window(r"kimi", 262_144),
    _window(r"kimi-k2\.[5-9]", 262_144, **_SEES),
    _window(r"glm-4\.5", 131_072),
    _window(r"glm-(4\.[67]|5)", 202_752),
    _window(r"glm-4\.[56]v", 65_536, **_SEES),
    _window(r"minimax", 204_800, max_output_tokens=65_536),
    _window(r"mimo", 262_144),
    _window(r"qwen-?3", 262_144),
    _window(r"qwen-?3-coder-plus|qwen3-max", 262_144),
    _window(r"qwen.*(vl|omni)", 262_144, **_SEES),
    _window(r"qwen-?2\.5", 131_072),
    _window(r"llama-?3\.[123]", 131_072),
    _window(r"llama-?4", 1_048_576, **_SEES),
    _window(r"mistral|magistral|devstral|ministral", 131_072),
    _window(r"pixtral|mistral-(medium|small)-3", 131_072, **_SEES),
    _window(r"hermes-4", 131_072),
    _window(r"llava|moondream|minicpm-v|-vision", 32_768, **_SEES),
)

_ENDPOINT_RULES: tuple[_Rule, ...] = (
    # Reasoning that must come back, or the provider refuses the conversation.
    _Rule({"echo_reasoning": True}, provider="deepseek"),
    _Rule({"echo_reasoning": True}, host="api.deepseek.com"),
    _Rule({"echo_reasoning": True}, provider=r"kimi-coding.*"),
    _Rule({"echo_reasoning": True}, host="api.kimi.com"),
    _Rule({"echo_reasoning": True}, host="moonshot.ai"),
    _Rule({"echo_reasoning": True}, host="moonshot.cn"),
    _Rule({"echo_reasoning": True}, provider="xiaomi"),
    _Rule({"echo_reasoning": True}, host="xiaomimimo.com"),
    _Rule({"echo_reasoning": True}, model="mimo"),
    # How to ask for reasoning.
    _Rule({"reasoning": "effort"}, host="api.openai.com", model=r"(^|/)(o[134]|gpt-5)"),
    _Rule({"reasoning": "effort"}, host="api.x.ai"),
    _Rule({"reasoning": "effort"}, host="generativelanguage.googleapis.com"),
    _Rule({"reasoning": "effort"}, model=r"gpt-oss"),
    _Rule({"reasoning": "effort"}, provider="ollama"),
    _Rule({"reasoning": "thinking_type"}, host="api.z.ai"),
    _Rule({"reasoning": "thinking_type"}, provider="xiaomi"),
    _Rule({"reasoning": "thinking_type"}, host="api.deepseek.com"),
    _Rule({"reasoning": "enable_thinking"}, provider="alibaba|qwen-oauth"),
    _Rule({"reasoning": "nested"}, provider="openrouter|nous|kilocode"),
    _Rule({"reasoning": "nested"}, host="openrouter.ai"),
    # Caches, prices, names.
    _Rule({"supports_prompt_cache_key": True}, host="api.openai.com"),
    _Rule({"supports_prompt_cache_key": True}, host="moonshot.ai"),
    _Rule({"supports_prompt_cache_key": True}, host="moonshot.cn"),
    _Rule({"cache_envelope": True}, provider="openrouter|nous", model=r"claude|qwen"),
    _Rule({"cache_envelope": True}, host="openrouter.ai", model=r"claude|qwen"),
    _Rule({"echo_reasoning_details": True, "reports_cost": True}, host="openrouter.ai"),
    _Rule({"echo_reasoning_details": True}, provider="nous"),
    _Rule({"system_role": "developer"}, host="api.openai.com", model=r"(^|/)(o[134]|gpt-5)"),
    # GLM served by Ollama says `stop` when it was cut.
    _Rule({"checks_endings": True}, provider="ollama|ollama-cloud", model="glm"),
    _Rule({"checks_endings": True}, host="ollama.com", model="glm"),
    # Attribution and billing headers, each for its own hosts only.
    _Rule(
        {"headers": {"HTTP-Referer": "https://github.com/hermes-agent", "X-Title": "hermes-agent"}},
        host="openrouter.ai",
    ),
    _Rule(
        {"headers": {"Copilot-Integration-Id": "vscode-chat", "Editor-Version": "vscode/1.104.0"}},
        host="githubcopilot.com",
    ),
    _Rule({"headers": {"X-BILLING-INVOKE-ORIGIN": "HermesAgent"}}, host="nvidia.com"),
)


def profile_for(provider: str, base_url: str, model: str) -> Profile:
    """What is known of `model` at `base_url`."""
    parts = urlsplit(base_url)
    host, name = (parts.hostname or "").lower(), model.lower()
    profile = Profile()
    for rule in (*_MODEL_RULES, *_ENDPOINT_RULES):
        if rule.matches(provider, host, name):
            profile = dataclasses.replace(profile, **rule.changes)
    if parts.port == 11434 and "glm" in name:
        profile = dataclasses.replace(profile, checks_endings=True)
    return profile


_ENDINGS = frozenset(".!?:;)]}>\"'`*_~|%^$#=+&@\\" + "。！？：；）】」』》〉”’…～")
# Commas, dashes and slashes are punctuation too, but nothing ends with them.


def ends_naturally(text: str) -> bool:
    """Whether an answer looks finished: punctuation, a closing fence, `^` or an emoji at its end."""
    text = text.rstrip()
    if not text:
        return False
    last = text[-1]
    return last in _ENDINGS or ord(last) >= 0x1F300 or text.endswith("```")
