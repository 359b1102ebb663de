"""From settings to a model that answers: dialect, retries, keys and fallbacks put together.

Nothing is opened, and no vendor SDK imported, before the first request.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.auxiliary import AuxiliaryTaskSettings
from hermes_agent.config.sections.model import FallbackSettings, ProviderModelSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import HermesError, MissingExtraError, ProviderSetupError
from hermes_agent.core.loading import load
from hermes_agent.core.model import DEFAULT_CONTEXT_WINDOW, Model, ModelInfo
from hermes_agent.models.catalogue import Provider
from hermes_agent.models.choice import Choice, choose
from hermes_agent.models.credentials import (
    NO_KEY,
    Credential,
    distinct,
    from_auth_file,
    from_environment,
    usable,
)
from hermes_agent.models.endpoint import Endpoint, is_loopback
from hermes_agent.models.fallback import FallbackModel
from hermes_agent.models.lazy import LazyModel
from hermes_agent.models.pool import PoolModel, Strategy
from hermes_agent.models.profiles import Profile, profile_for
from hermes_agent.models.retry import RetryModel, Sleep

DIALECTS: Mapping[str, str] = {
    "chat_completions": "hermes_agent.models.chat_completions:ChatCompletionsModel",
    "codex_responses": "hermes_agent.models.responses:ResponsesModel",
    "anthropic_messages": "hermes_agent.models.anthropic_messages:AnthropicMessagesModel",
}
"""Where each dialect lives. Every class takes an `Endpoint` and a key."""

DEMO = "hermes_agent.models.demo:DemoModel"
FIRST_BYTE_SECONDS = 300.0
STALE_SECONDS = 180.0
REQUEST_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Target:
    """A resolved endpoint and the keys that may be sent to it, in the order of their priority."""

    endpoint: Endpoint
    credentials: tuple[Credential, ...]
    provider: Provider


def resolve_model(
    settings: Settings,
    environ: Environ,
    *,
    provider: str | None = None,
    model: str | None = None,
    home: Home | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Model:
    """The model that the settings (or the two names) ask for, with retries, key pool and fallbacks.

    Args:
        settings: All settings.
        environ: For keys and endpoints.
        provider: Explicit provider; wins over the settings.
        model: Explicit model; wins over the settings.
        home: Where auth.json is, for the credential pool; None leaves the pool out.
        sleep: Waits between tries.

    Raises:
        ProviderSetupError: No provider, no key, unknown names.
        MissingExtraError: The dialect needs a package that is not installed.
    """
    return _stack(settings, environ, provider, model, home, sleep, _Limits())


@dataclass(frozen=True, slots=True)
class _Limits:
    """What an auxiliary task changes at the first endpoint."""

    timeout_seconds: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    context_length: int | None = None


def _stack(
    settings: Settings,
    environ: Environ,
    provider: str | None,
    model: str | None,
    home: Home | None,
    sleep: Sleep,
    limits: _Limits,
) -> Model:
    first = resolve_target(settings, environ, provider=provider, model=model, home=home)
    if first.endpoint.info.is_demo:
        demo: Model = load(DEMO)()
        return demo
    endpoint = first.endpoint
    window = limits.context_length or endpoint.info.context_window
    endpoint = replace(
        endpoint,
        info=replace(endpoint.info, context_window=window),
        request_timeout_seconds=limits.timeout_seconds or endpoint.request_timeout_seconds,
        extra_body={**endpoint.extra_body, **limits.extra_body},
    )
    models = [_build(replace(first, endpoint=endpoint), settings, sleep)]
    for entry in _fallbacks(settings):
        target = _fallback_target(entry, settings, environ, home)
        if target is not None and target.endpoint.info.label != first.endpoint.info.label:
            models.append(_build(target, settings, sleep))
    return FallbackModel(models) if len(models) > 1 else models[0]


def resolve_auxiliary(
    settings: Settings,
    environ: Environ,
    task: str,
    *,
    home: Home | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Model:
    """The model for a small job beside the conversation; `auto` is the main one.

    Args:
        settings: `auxiliary.<task>` says who; its own fallback chain comes before the general one.
        environ: For keys and endpoints.
        task: `vision`, `compression`, `approval` …
        home: Where auth.json is.
        sleep: Waits between tries.

    Raises:
        ProviderSetupError: As `resolve_model`.
    """
    section: AuxiliaryTaskSettings = getattr(settings.auxiliary, task)
    provider = None if section.provider in ("", "auto") else section.provider
    if section.base_url:
        provider = provider or "custom"
        own = {"provider": provider, "base_url": section.base_url, "api_key": section.api_key}
        settings = settings.replace(model={**own, "default": section.model})
    chain = [*section.fallback_chain, *settings.fallback_providers]
    settings = settings.replace(fallback_providers=chain)
    limits = _Limits(section.timeout, section.extra_body, section.context_length)
    return _stack(settings, environ, provider, section.model or None, home, sleep, limits)


def describe(
    settings: Settings,
    environ: Environ,
    *,
    provider: str | None = None,
    model: str | None = None,
    home: Home | None = None,
) -> ModelInfo:
    """Who `resolve_model` would ask first. Raises the same errors."""
    return resolve_target(settings, environ, provider=provider, model=model, home=home).endpoint.info


def warm_up(info: ModelInfo | None = None) -> None:
    """Import the dialect (and its SDK) that will be needed. Blocking: call it from a thread.

    Args:
        info: From `describe`; None means chat completions.
    """
    path = DIALECTS.get(info.dialect if info else "chat_completions")
    if path is not None:
        load(path)


def resolve_target(
    settings: Settings,
    environ: Environ,
    *,
    provider: str | None = None,
    model: str | None = None,
    home: Home | None = None,
) -> Target:
    """Endpoint and keys, without fallbacks. Raises like `resolve_model`."""

    def has_key(candidate: Provider) -> bool:
        if from_environment(environ, candidate.key_names):
            return True
        return home is not None and bool(from_auth_file(home.auth_file, candidate.id, environ))

    chosen = choose(settings, environ, has_key, provider=provider, model=model)
    endpoint = _endpoint(chosen, settings, environ)
    if endpoint.info.is_demo:
        return Target(endpoint, (NO_KEY,), chosen.provider)
    if endpoint.info.dialect == "anthropic_messages" and importlib.util.find_spec("anthropic") is None:
        raise MissingExtraError(
            f"{chosen.label} speaks the Anthropic dialect, whose package is not installed", extra="anthropic"
        )
    return Target(endpoint, _credentials(chosen, environ, home), chosen.provider)


def _credentials(chosen: Choice, environ: Environ, home: Home | None) -> tuple[Credential, ...]:
    if chosen.api_key:
        return (Credential("config", "config.yaml", usable(chosen.api_key), "config"),)
    found: list[Credential] = []
    if home is not None and chosen.may_use_pool:
        found += from_auth_file(home.auth_file, chosen.label, environ)
    found += from_environment(environ, chosen.key_names)
    if found:
        return distinct(found)
    provider = chosen.provider
    if provider.auth == "aws" or (provider.auth == "oauth" and not chosen.api_key):
        raise ProviderSetupError(
            f"{provider.label} needs a sign-in that this version does not offer yet",
            remedy="Choose another provider: hermes model",
        )
    if chosen.key_names and not is_loopback(chosen.base_url):
        where = f" Get a key at {provider.key_url}." if provider.key_url else ""
        raise ProviderSetupError(
            f"There is no key for {chosen.label}",
            why=f"None of these is set: {', '.join(chosen.key_names)}.",
            remedy=f"Put {chosen.key_names[0]}=… into .env, run `hermes setup`, "
            f"or try without a key: --provider demo.{where}",
        )
    return (NO_KEY,)


def _endpoint(chosen: Choice, settings: Settings, environ: Environ) -> Endpoint:
    provider, section = chosen.provider, settings.model
    if provider.api_mode == "demo":
        info = ModelInfo(provider.id, chosen.model, "demo", is_demo=True)
        return Endpoint(info)
    profile = profile_for(chosen.label, chosen.base_url, chosen.model)
    override = settings.providers.get(provider.id)
    models = chosen.custom.models if chosen.custom else (override.models if override else {})
    own = models.get(chosen.model, ProviderModelSettings())
    window = own.context_length or (section.context_length if chosen.is_configured else None)
    info = ModelInfo(
        provider=chosen.label,
        model=chosen.model,
        dialect=_dialect(chosen, settings),
        base_url=chosen.base_url,
        context_window=window or profile.context_window or DEFAULT_CONTEXT_WINDOW,
        max_output_tokens=own.max_tokens or profile.max_output_tokens,
        supports_tools=profile.supports_tools,
        supports_images=_sees_images(profile, settings),
    )
    stale = own.stale_timeout_seconds or (override.stale_timeout_seconds if override else None)
    request = own.request_timeout_seconds or (override.request_timeout_seconds if override else None)
    is_local = is_loopback(chosen.base_url) or provider.is_local
    return Endpoint(
        info=info,
        profile=profile,
        headers={**profile.headers, **(section.default_headers if chosen.is_configured else {})},
        extra_body=_routing(chosen, settings),
        request_timeout_seconds=request or REQUEST_SECONDS,
        stale_timeout_seconds=stale or (None if is_local else STALE_SECONDS),
        first_byte_timeout_seconds=stale or (None if is_local else FIRST_BYTE_SECONDS),
        max_output_tokens=own.max_tokens or (section.max_tokens if chosen.is_configured else None),
        reasoning_effort=section.reasoning_effort,
        cache_ttl=settings.prompt_caching.cache_ttl,
        proxy=_proxy(chosen.base_url, environ),
        key_names=chosen.key_names,
        key_url=provider.key_url,
    )


def _routing(chosen: Choice, settings: Settings) -> Mapping[str, Any]:
    """OpenRouter's own choice among the providers behind it."""
    if not settings.provider_routing or urlsplit(chosen.base_url).hostname != "openrouter.ai":
        return {}
    return {"provider": dict(settings.provider_routing)}


def _dialect(chosen: Choice, settings: Settings) -> str:
    if chosen.custom is not None:
        return chosen.custom.api_mode
    if chosen.is_configured and settings.model.api_mode and settings.model.api_mode != "demo":
        return settings.model.api_mode
    mode, url = chosen.provider.api_mode, chosen.base_url.lower()
    if chosen.provider.id in ("custom", "azure-foundry") and urlsplit(url).path.rstrip("/").endswith(
        "/anthropic"
    ):
        return "anthropic_messages"
    if mode == "codex_responses" and urlsplit(url).hostname != urlsplit(chosen.provider.base_url).hostname:
        return "chat_completions"  # stand-ins for OpenAI and xAI rarely speak the newer dialect
    return mode


def _sees_images(profile: Profile, settings: Settings) -> bool:
    mode = settings.agent.image_input_mode
    return mode == "native" or (mode == "auto" and profile.supports_images)


def _proxy(base_url: str, environ: Environ) -> str | None:
    """The proxy for an address, as the usual variables say."""
    if is_loopback(base_url):
        return None
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    skipped = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    for each in (item.strip().lower().lstrip("*").lstrip(".") for item in skipped.split(",")):
        if skipped.strip() == "*" or (each and (host == each or host.endswith(f".{each}"))):
            return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        proxy = environ.get(name.upper()) or environ.get(name)
        if proxy:
            return proxy if "://" in proxy else f"http://{proxy}"
    return None


def _build(target: Target, settings: Settings, sleep: Sleep) -> Model:
    endpoint = target.endpoint
    dialect = DIALECTS[endpoint.info.dialect]

    def one(credential: Credential) -> Model:
        def build() -> Model:
            built: Model = load(dialect)(endpoint, credential.secret)
            return built

        return LazyModel(endpoint.info, build)

    inner: Model
    if len(target.credentials) > 1:
        strategy: Strategy = settings.credential_pool_strategies.get(endpoint.info.provider, "fill_first")  # type: ignore[assignment]
        inner = PoolModel(endpoint.info, target.credentials, one, strategy=strategy, sleep=sleep)
    else:
        inner = one(target.credentials[0])
    return RetryModel(inner, max_retries=settings.agent.api_max_retries, sleep=sleep)


def _fallbacks(settings: Settings) -> list[FallbackSettings]:
    """The chain, and the older single `fallback_model`."""
    chain = list(settings.fallback_providers)
    legacy = settings.extra.get("fallback_model")
    if isinstance(legacy, dict) and legacy.get("provider") and legacy.get("model"):
        chain.append(FallbackSettings.model_validate(legacy))
    return chain


def _fallback_target(
    entry: FallbackSettings, settings: Settings, environ: Environ, home: Home | None
) -> Target | None:
    """The endpoint of a fallback; None if it is not set up, which must not keep the first from working."""
    if entry.base_url:
        key = (environ.get(entry.key_env) or "") if entry.key_env else ""
        section = {
            "provider": entry.provider,
            "base_url": entry.base_url,
            "api_key": key,
            "default": entry.model,
        }
        settings = settings.replace(model=section)
    try:
        target = resolve_target(settings, environ, provider=entry.provider, model=entry.model, home=home)
    except HermesError:
        return None
    if entry.key_env and not entry.base_url:
        keys = from_environment(environ, (entry.key_env,))
        target = replace(target, credentials=distinct(keys)) if keys else target
    return target
