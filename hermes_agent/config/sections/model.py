"""`model`, `providers`, `custom_providers`, `fallback_providers`: who answers."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section, Word

ApiMode = Literal["chat_completions", "codex_responses", "anthropic_messages", "demo"]


class ModelSettings(Section):
    """`model`: a string (`name` or `provider:name`) or this map."""

    default: str = ""
    """Model name as the provider spells it; `provider:name` also works. Empty: the provider's default."""
    provider: str = "auto"
    """Provider id; `auto` takes the first one that has a key."""
    base_url: str = ""
    """Own endpoint; empty means the provider's."""
    api_key: str = ""
    """Key for `base_url`; better kept in `.env` and written here as `${NAME}`."""
    api_mode: ApiMode | None = None
    """Wire dialect; null means the provider's."""
    context_length: int | None = None
    """Context window in tokens; null means what is known of the model."""
    max_tokens: int | None = None
    """Most tokens in one answer; null leaves it to the provider."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """How hard to think; null leaves it to the provider."""
    default_headers: dict[str, Word] = Field(default_factory=dict)
    """Sent with every request to the model."""
    openai_runtime: Literal["auto", "codex_app_server"] = "auto"
    """Runtime for OpenAI models."""
    auth_mode: Literal["api_key", "entra_id"] = "api_key"
    """How to authenticate at Azure."""


class ProviderModelSettings(Section):
    """`providers.<id>.models.<name>`: overrides for one model."""

    context_length: int | None = None
    """Context window in tokens."""
    max_tokens: int | None = None
    """Most tokens in one answer."""
    request_timeout_seconds: float | None = None
    """Overrides the provider's value."""
    stale_timeout_seconds: float | None = None
    """Overrides the provider's value."""


class ProviderSettings(Section):
    """`providers.<id>`: overrides for one provider of the catalogue."""

    base_url: str = ""
    """Another endpoint for this provider (a proxy); the provider's key is then sent there."""
    request_timeout_seconds: float | None = None
    """Longest whole request; default 1800."""
    stale_timeout_seconds: float | None = None
    """Longest silence of a stream; default 180, off for local endpoints."""
    models: dict[str, ProviderModelSettings] = Field(default_factory=dict)
    """Per model."""


class CustomProviderSettings(Section):
    """One element of `custom_providers`, addressed as `custom:<name>:<model>`."""

    name: str
    """Short name."""
    base_url: str
    """OpenAI- or Anthropic-compatible endpoint."""
    api_key: str = ""
    """Key; better `${NAME}` or `key_env`."""
    key_env: str = ""
    """Name of the variable in `.env` that holds the key."""
    api_mode: ApiMode = "chat_completions"
    """Wire dialect."""
    models: dict[str, ProviderModelSettings] = Field(default_factory=dict)
    """Per model."""


class FallbackSettings(Section):
    """One element of `fallback_providers`."""

    provider: str
    """Provider id or `custom:<name>`."""
    model: str
    """Model name."""
    base_url: str = ""
    """Own endpoint."""
    key_env: str = ""
    """Name of the variable that holds the key."""


class ModelRoot(Section):
    """Model keys at the top level."""

    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """Overrides for providers of the catalogue, by id."""
    custom_providers: list[CustomProviderSettings] = Field(default_factory=list)
    """Own providers."""
    fallback_providers: list[FallbackSettings] = Field(default_factory=list)
    """Asked in turn when the first provider fails."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """Short names for `provider:model`."""
    credential_pool_strategies: dict[str, Literal["fill_first", "round_robin", "least_used", "random"]] = (
        Field(default_factory=dict)
    )
    """How several keys of a provider take turns, by provider id; default `fill_first`."""
