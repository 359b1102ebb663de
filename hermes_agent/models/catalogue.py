"""The provider catalogue: who can be asked, where, and with which key. Data only.

A key named here is sent to the host of `Provider.base_url` (or to an endpoint that the user
configured for this very provider) and to no other.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from hermes_agent.config.sections.model import ApiMode
from hermes_agent.core.errors import ProviderSetupError

Auth = Literal["api_key", "oauth", "aws", "none"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One entry of the catalogue.

    Attributes:
        id: What people type before the colon of `provider:model`.
        label: Name for people.
        base_url: Endpoint; empty if every user has their own.
        key_names: Environment variables that may hold the key; the first one set wins.
        api_mode: Wire dialect.
        default_model: Taken when no model is named; empty if there is no sensible one.
        models: Suggestions for pickers; not a list of what exists.
        aliases: Other spellings of `id`.
        base_url_names: Environment variables that name another endpoint for this provider.
        auth: How it authenticates. `oauth` and `aws` entries work with a stored or environment token only.
        is_local: Runs on this machine; needs no key, and streams may pause for as long as they like.
        is_automatic: `provider: auto` may choose it when a key is found. False for keys that people
            have for other reasons (GitHub, Hugging Face).
        key_url: Where to get a key.
    """

    id: str
    label: str
    base_url: str
    key_names: tuple[str, ...] = ()
    api_mode: ApiMode = "chat_completions"
    default_model: str = ""
    models: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    base_url_names: tuple[str, ...] = ()
    auth: Auth = "api_key"
    is_local: bool = False
    is_automatic: bool = True
    key_url: str = ""

    @property
    def host(self) -> str:
        """Host (and port) that its keys belong to."""
        return urlsplit(self.base_url).netloc


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        default_model="anthropic/claude-sonnet-4.5",
        models=(
            "anthropic/claude-sonnet-4.5",
            "anthropic/claude-opus-4.5",
            "openai/gpt-5.1",
            "google/gemini-3-pro-preview",
            "qwen/qwen3-coder",
            "moonshotai/kimi-k2-thinking",
            "z-ai/glm-4.7",
            "deepseek/deepseek-v3.2",
        ),
        aliases=("or",),
        base_url_names=("OPENROUTER_BASE_URL",),
        key_url="https://openrouter.ai/keys",
    ),
    Provider(
        "openai-api",
        "OpenAI",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        api_mode="codex_responses",
        default_model="gpt-5.1",
        models=("gpt-5.1", "gpt-5.1-codex", "gpt-5-mini", "gpt-4.1"),
        aliases=("openai",),
        base_url_names=("OPENAI_BASE_URL",),
        key_url="https://platform.openai.com/api-keys",
    ),
    Provider(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com",
        ("ANTHROPIC_API_KEY", "ANTHROPIC_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        api_mode="anthropic_messages",
        default_model="claude-sonnet-4-5",
        models=("claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5"),
        aliases=("claude",),
        base_url_names=("ANTHROPIC_BASE_URL",),
        key_url="https://console.anthropic.com/settings/keys",
    ),
    Provider(
        "gemini",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        default_model="gemini-2.5-pro",
        models=("gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview"),
        aliases=("google",),
        base_url_names=("GEMINI_BASE_URL",),
        key_url="https://aistudio.google.com/apikey",
    ),
    Provider(
        "nous",
        "Nous Portal",
        "https://inference-api.nousresearch.com/v1",
        ("NOUS_API_KEY",),
        default_model="Hermes-4-405B",
        models=("Hermes-4-405B", "Hermes-4-70B"),
        aliases=("nous-portal", "nousresearch"),
        key_url="https://portal.nousresearch.com",
    ),
    Provider(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        ("DEEPSEEK_API_KEY",),
        default_model="deepseek-chat",
        models=("deepseek-chat", "deepseek-reasoner"),
        base_url_names=("DEEPSEEK_BASE_URL",),
        key_url="https://platform.deepseek.com/api_keys",
    ),
    Provider(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        ("XAI_API_KEY",),
        api_mode="codex_responses",
        default_model="grok-4",
        models=("grok-4", "grok-4-fast", "grok-code-fast-1"),
        aliases=("grok", "x-ai"),
        base_url_names=("XAI_BASE_URL",),
        key_url="https://console.x.ai",
    ),
    Provider(
        "zai",
        "Z.ai (GLM)",
        "https://api.z.ai/api/paas/v4",
        ("GLM_API_KEY", "ZAI_API_KEY", "Z_AI_API_KEY"),
        default_model="glm-4.7",
        models=("glm-4.7", "glm-4.6", "glm-4.5-air"),
        aliases=("glm", "z-ai", "zhipu"),
        base_url_names=("GLM_BASE_URL",),
        key_url="https://z.ai/manage-apikey/apikey-list",
    ),
    Provider(
        "kimi-coding",
        "Kimi (Moonshot)",
        "https://api.moonshot.ai/v1",
        ("KIMI_API_KEY", "KIMI_CODING_API_KEY"),
        default_model="kimi-k2-thinking",
        models=("kimi-k2-thinking", "kimi-k2-turbo-preview"),
        aliases=("kimi", "moonshot"),
        base_url_names=("KIMI_BASE_URL",),
        key_url="https://platform.moonshot.ai/console/api-keys",
    ),
    Provider(
        "kimi-coding-cn",
        "Kimi (Moonshot, China)",
        "https://api.moonshot.cn/v1",
        ("KIMI_CN_API_KEY",),
        default_model="kimi-k2-thinking",
        models=("kimi-k2-thinking",),
        aliases=("kimi-cn", "moonshot-cn"),
        key_url="https://platform.moonshot.cn/console/api-keys",
    ),
    Provider(
        "minimax",
        "MiniMax",
        "https://api.minimax.io/anthropic",
        ("MINIMAX_API_KEY",),
        api_mode="anthropic_messages",
        default_model="MiniMax-M2",
        models=("MiniMax-M2",),
        base_url_names=("MINIMAX_BASE_URL",),
        key_url="https://platform.minimax.io",
    ),
    Provider(
        "minimax-cn",
        "MiniMax (China)",
        "https://api.minimaxi.com/anthropic",
        ("MINIMAX_CN_API_KEY",),
        api_mode="anthropic_messages",
        default_model="MiniMax-M2",
        models=("MiniMax-M2",),
        base_url_names=("MINIMAX_CN_BASE_URL",),
        key_url="https://platform.minimaxi.com",
    ),
    Provider(
        "minimax-oauth",
        "MiniMax (sign-in)",
        "https://api.minimax.io/anthropic",
        api_mode="anthropic_messages",
        default_model="MiniMax-M2",
        auth="oauth",
    ),
    Provider(
        "xiaomi",
        "Xiaomi MiMo",
        "https://api.xiaomimimo.com/v1",
        ("XIAOMI_API_KEY",),
        default_model="mimo-v2-flash",
        models=("mimo-v2-flash",),
        aliases=("mimo",),
        base_url_names=("XIAOMI_BASE_URL",),
        key_url="https://platform.xiaomimimo.com",
    ),
    Provider(
        "nvidia",
        "NVIDIA NIM",
        "https://integrate.api.nvidia.com/v1",
        ("NVIDIA_API_KEY",),
        default_model="qwen/qwen3-coder-480b-a35b-instruct",
        models=("qwen/qwen3-coder-480b-a35b-instruct", "openai/gpt-oss-120b"),
        aliases=("nim",),
        base_url_names=("NVIDIA_BASE_URL",),
        key_url="https://build.nvidia.com",
    ),
    Provider(
        "ollama-cloud",
        "Ollama Cloud",
        "https://ollama.com/v1",
        ("OLLAMA_API_KEY",),
        default_model="gpt-oss:120b",
        models=("gpt-oss:120b", "qwen3-coder:480b", "glm-4.6", "kimi-k2:1t"),
        key_url="https://ollama.com/settings/keys",
    ),
    Provider(
        "opencode-zen",
        "OpenCode Zen",
        "https://opencode.ai/zen/v1",
        ("OPENCODE_ZEN_API_KEY",),
        default_model="kimi-k2",
        base_url_names=("OPENCODE_ZEN_BASE_URL",),
        key_url="https://opencode.ai/auth",
    ),
    Provider(
        "opencode-go",
        "OpenCode Go",
        "https://opencode.ai/zen/go/v1",
        ("OPENCODE_GO_API_KEY",),
        default_model="glm-4.7",
        base_url_names=("OPENCODE_GO_BASE_URL",),
        key_url="https://opencode.ai/auth",
    ),
    Provider(
        "kilocode",
        "Kilo Code",
        "https://api.kilo.ai/api/gateway",
        ("KILOCODE_API_KEY",),
        default_model="anthropic/claude-sonnet-4.5",
        aliases=("kilo",),
        base_url_names=("KILOCODE_BASE_URL",),
        key_url="https://app.kilo.ai",
    ),
    Provider(
        "arcee",
        "Arcee",
        "https://api.arcee.ai/api/v1",
        ("ARCEE_API_KEY", "ARCEEAI_API_KEY"),
        default_model="trinity-mini",
        base_url_names=("ARCEE_BASE_URL",),
        key_url="https://chat.arcee.ai",
    ),
    Provider(
        "gmi",
        "GMI Cloud",
        "https://api.gmi-serving.com/v1",
        ("GMI_API_KEY",),
        default_model="deepseek-ai/DeepSeek-V3.2",
        aliases=("gmi-cloud",),
        base_url_names=("GMI_BASE_URL",),
        key_url="https://console.gmicloud.ai",
    ),
    Provider(
        "novita",
        "Novita",
        "https://api.novita.ai/openai/v1",
        ("NOVITA_API_KEY",),
        default_model="deepseek/deepseek-v3.2",
        base_url_names=("NOVITA_BASE_URL",),
        key_url="https://novita.ai/settings/key-management",
    ),
    Provider(
        "stepfun",
        "StepFun",
        "https://api.stepfun.ai/v1",
        ("STEPFUN_API_KEY",),
        default_model="step-3.5-flash",
        base_url_names=("STEPFUN_BASE_URL",),
        key_url="https://platform.stepfun.ai",
    ),
    Provider(
        "alibaba",
        "Alibaba DashScope (Qwen)",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        ("DASHSCOPE_API_KEY",),
        default_model="qwen3-max",
        models=("qwen3-max", "qwen3-coder-plus"),
        aliases=("dashscope",),
        base_url_names=("DASHSCOPE_BASE_URL",),
        key_url="https://modelstudio.console.alibabacloud.com",
    ),
    Provider(
        "tencent-tokenhub",
        "Tencent TokenHub",
        "https://tokenhub.tencentmaas.com/v1",
        ("TOKENHUB_API_KEY",),
        aliases=("tencent", "tokenhub"),
        base_url_names=("TOKENHUB_BASE_URL",),
    ),
    Provider(
        "azure-foundry",
        "Azure AI Foundry",
        "",
        ("AZURE_FOUNDRY_API_KEY",),
        aliases=("azure",),
        base_url_names=("AZURE_FOUNDRY_BASE_URL",),
    ),
    Provider(
        "huggingface",
        "Hugging Face",
        "https://router.huggingface.co/v1",
        ("HF_TOKEN",),
        default_model="Qwen/Qwen3-Coder-480B-A35B-Instruct",
        models=("Qwen/Qwen3-Coder-480B-A35B-Instruct", "zai-org/GLM-4.7", "moonshotai/Kimi-K2-Thinking"),
        aliases=("hf",),
        base_url_names=("HF_BASE_URL",),
        is_automatic=False,
        key_url="https://huggingface.co/settings/tokens",
    ),
    Provider(
        "copilot",
        "GitHub Copilot",
        "https://api.githubcopilot.com",
        ("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
        default_model="gpt-4.1",
        aliases=("github-copilot",),
        is_automatic=False,
    ),
    Provider(
        "openai-codex",
        "OpenAI Codex (ChatGPT sign-in)",
        "https://chatgpt.com/backend-api/codex",
        api_mode="codex_responses",
        default_model="gpt-5.1-codex",
        aliases=("codex",),
        auth="oauth",
    ),
    Provider(
        "xai-oauth",
        "xAI (SuperGrok sign-in)",
        "https://api.x.ai/v1",
        api_mode="codex_responses",
        default_model="grok-4",
        auth="oauth",
    ),
    Provider(
        "qwen-oauth",
        "Qwen (sign-in)",
        "https://portal.qwen.ai/v1",
        default_model="qwen3-coder-plus",
        auth="oauth",
    ),
    Provider("bedrock", "Amazon Bedrock", "", aliases=("aws",), auth="aws"),
    Provider(
        "lmstudio",
        "LM Studio",
        "http://127.0.0.1:1234/v1",
        ("LM_API_KEY",),
        aliases=("lm-studio",),
        base_url_names=("LM_BASE_URL",),
        auth="none",
        is_local=True,
    ),
    Provider(
        "ollama",
        "Ollama",
        "http://127.0.0.1:11434/v1",
        base_url_names=("OLLAMA_BASE_URL",),
        auth="none",
        is_local=True,
    ),
    Provider("vllm", "vLLM", "http://127.0.0.1:8000/v1", auth="none", is_local=True),
    Provider(
        "llamacpp",
        "llama.cpp",
        "http://127.0.0.1:8080/v1",
        aliases=("llama.cpp", "llama-cpp", "llama-server"),
        auth="none",
        is_local=True,
    ),
    Provider(
        "custom",
        "Own endpoint",
        "",
        base_url_names=("OPENAI_BASE_URL",),
        auth="none",
        is_automatic=False,
    ),
    Provider(
        "demo",
        "Demo model (offline)",
        "",
        api_mode="demo",
        default_model="demo",
        models=("demo",),
        auth="none",
        is_automatic=False,
    ),
)

_BY_NAME = {name: provider for provider in PROVIDERS for name in (provider.id, *provider.aliases)}


def find_provider(name: str) -> Provider | None:
    """The provider with this id or alias (case does not matter), or None."""
    return _BY_NAME.get(name.strip().lower())


def get_provider(name: str, *, also: Iterable[str] = ()) -> Provider:
    """The provider with this id or alias.

    Args:
        name: Id or alias.
        also: Further names that would be valid here (custom providers), for the suggestion.

    Raises:
        ProviderSetupError: Nobody has that name; the remedy lists the nearest ones.
    """
    found = find_provider(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), [*_BY_NAME, *also], n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(each) for each in near)}? " if near else ""
    raise ProviderSetupError(
        f"There is no provider {name!r}",
        remedy=f"{hint}`hermes model` lists all providers; own endpoints go under custom_providers.",
    )


def provider_of_host(url: str) -> Provider | None:
    """The provider whose keys belong to the host of `url`, or None."""
    host = urlsplit(url).netloc.lower()
    return next((each for each in PROVIDERS if each.base_url and each.host == host), None)
