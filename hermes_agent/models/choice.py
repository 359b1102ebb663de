"""Decides who is asked: explicit argument > configuration > environment > default. No I/O.

Words people type: `MODEL`, `PROVIDER:MODEL`, `custom:NAME:MODEL`, or an alias of `model_aliases`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from hermes_agent.config.environ import Environ
from hermes_agent.config.sections.model import CustomProviderSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import ProviderSetupError
from hermes_agent.models.catalogue import (
    PROVIDERS,
    Provider,
    find_provider,
    get_provider,
    provider_of_host,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is asked, and which keys may be sent there.

    Attributes:
        provider: Entry of the catalogue (`custom` for own endpoints).
        label: What people call it: the provider's id, or `custom:<name>`.
        model: Model name as the endpoint spells it.
        base_url: Where.
        api_key: Key from the settings, if there is one.
        key_names: Variables whose keys belong to this address.
        custom: The entry of `custom_providers`, if it is one.
        is_configured: It is the provider of the `model` section, so that the rest of that section holds.
    """

    provider: Provider
    label: str
    model: str
    base_url: str
    api_key: str = ""
    key_names: tuple[str, ...] = ()
    custom: CustomProviderSettings | None = None
    is_configured: bool = False

    @property
    def may_use_pool(self) -> bool:
        """Whether the pool's keys for `label` belong to this address."""
        if self.custom is not None:
            return True
        if self.provider.id == "custom":
            return False
        own = self.provider
        return _same_origin(self.base_url, own.base_url) or self.key_names == own.key_names != ()


_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

HasKey = Callable[[Provider], bool]


def choose(
    settings: Settings,
    environ: Environ,
    has_key: HasKey,
    *,
    provider: str | None = None,
    model: str | None = None,
) -> Choice:
    """Find out who is asked.

    Args:
        settings: All settings.
        environ: For endpoints and keys.
        has_key: Whether a provider has a key (variables or the pool).
        provider: Explicit provider, as typed.
        model: Explicit model, as typed.

    Raises:
        ProviderSetupError: An unknown name, no key for anybody, no model name, or no address.
    """
    chooser = _Chooser(settings, environ, has_key)
    wanted_provider, wanted_model = chooser.split(provider or "", model or "")
    return chooser.choice(wanted_provider, wanted_model)


class _Chooser:
    def __init__(self, settings: Settings, environ: Environ, has_key: HasKey) -> None:
        self._settings = settings
        self._environ = environ
        self._has_key = has_key
        self._custom = {entry.name.lower(): entry for entry in settings.custom_providers}

    def split(self, provider: str, model: str) -> tuple[str, str]:
        """Provider and model names out of what was typed; aliases resolved."""
        provider, model = provider.strip(), model.strip()
        model = self._settings.model_aliases.get(model, model)
        if provider.lower().startswith("custom:"):
            name, _, rest = provider[len("custom:") :].partition(":")
            return f"custom:{name}", model or rest
        if not provider and model.lower().startswith("custom:"):
            name, colon, rest = model[len("custom:") :].partition(":")
            if colon or name.lower() in self._custom:
                return f"custom:{name}", rest
            return "custom", name
        prefix, colon, rest = model.partition(":")
        if not colon:
            return provider, model
        named = find_provider(prefix)
        if named is not None and (not provider or find_provider(provider) is named):
            return named.id, rest
        if prefix.lower() in self._custom and not provider:
            return f"custom:{prefix}", rest
        return provider, model

    def choice(self, provider: str, model: str) -> Choice:
        """Who is asked, given what was typed."""
        section = self._settings.model
        own_provider, own_model = self.split(
            "" if section.provider in ("", "auto") else section.provider, section.default
        )
        if not own_provider and section.base_url:
            known = provider_of_host(section.base_url)
            own_provider = known.id if known else "custom"
        name = provider or own_provider or self._automatic().id
        entry = self._custom_entry(name)
        if entry is not None:
            own = self._custom_entry(own_provider) is entry
            return self._own_endpoint(entry, model or (own_model if own else ""), is_configured=own)
        found = get_provider(name, also=self._custom)
        is_own = not provider or (bool(own_provider) and found is find_provider(own_provider))
        chosen = model or (own_model if is_own else "") or found.default_model
        return self._catalogue(found, chosen, is_configured=is_own)

    def _automatic(self) -> Provider:
        for provider in PROVIDERS:
            has_address = bool(provider.base_url or self._environment_url(provider))
            if (
                has_address
                and provider.is_automatic
                and provider.auth == "api_key"
                and self._has_key(provider)
            ):
                return provider
        own = get_provider("custom")
        if self._environment_url(own):
            return own
        raise ProviderSetupError(
            "No model provider is set up",
            why="No key was found in the environment or in .env.",
            remedy=(
                "Run `hermes setup`, or set OPENROUTER_API_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY, "
                "or try without a key: --provider demo"
            ),
        )

    def _custom_entry(self, name: str) -> CustomProviderSettings | None:
        if not name:
            return None
        lowered = name.lower()
        if lowered.startswith("custom:"):
            entry = self._custom.get(lowered[len("custom:") :])
            if entry is None:
                known = ", ".join(repr(each) for each in self._custom) or "none"
                raise ProviderSetupError(
                    f"There is no custom provider {name[len('custom:') :]!r}",
                    remedy=f"Add it under custom_providers in config.yaml; known now: {known}.",
                )
            return entry
        return self._custom.get(lowered) if find_provider(lowered) is None else None

    def _own_endpoint(self, entry: CustomProviderSettings, model: str, *, is_configured: bool) -> Choice:
        model = model or next(iter(entry.models), "")
        label = f"custom:{entry.name}"
        if not model:
            raise _no_model(label)
        known = provider_of_host(entry.base_url)
        names: tuple[str, ...] = (entry.key_env,) if entry.key_env else ()
        if (
            not names
            and not entry.api_key
            and known is not None
            and _same_origin(entry.base_url, known.base_url)
        ):
            names = known.key_names
        return Choice(
            get_provider("custom"),
            label,
            model,
            _checked(entry.base_url, label),
            entry.api_key,
            names,
            entry,
            is_configured,
        )

    def _catalogue(self, provider: Provider, model: str, *, is_configured: bool) -> Choice:
        section = self._settings.model
        if provider.api_mode == "demo":
            return Choice(provider, provider.id, model, "", is_configured=is_configured)
        configured_url = section.base_url if is_configured else ""
        override = self._settings.providers.get(provider.id)
        provider_url = (override.base_url if override else "") or self._environment_url(provider)
        base_url = configured_url or provider_url or provider.base_url
        if not base_url:
            variable = next(iter(provider.base_url_names), "")
            raise ProviderSetupError(
                f"{provider.id} needs an address",
                remedy=(
                    f"{f'Set {variable} in the environment, or ' if variable else 'Set '}"
                    f"model.base_url (with model.provider: {provider.id}) in config.yaml."
                ),
            )
        base_url = _checked(base_url, provider.id)
        if not model:
            raise _no_model(provider.id)
        return Choice(
            provider,
            provider.id,
            model,
            base_url,
            section.api_key if is_configured else "",
            self._key_names(provider, base_url, provider_url),
            is_configured=is_configured,
        )

    def _key_names(self, provider: Provider, base_url: str, provider_url: str) -> tuple[str, ...]:
        """The variables whose keys belong to `base_url`: the provider's own, at its own addresses only."""
        own = (provider.base_url, provider_url)
        is_own = any(each and _same_origin(base_url, each) for each in own) or not provider.base_url
        if is_own and provider.id != "custom":
            return provider.key_names
        if provider.id == "custom" and provider_url and _same_origin(base_url, provider_url):
            return ("OPENAI_API_KEY",)  # named together with OPENAI_BASE_URL, as the OpenAI tools do
        other = provider_of_host(base_url)
        return other.key_names if other is not None and _same_origin(base_url, other.base_url) else ()

    def _environment_url(self, provider: Provider) -> str:
        return next(filter(None, map(self._environ.get, provider.base_url_names)), "")


def _no_model(label: str) -> ProviderSetupError:
    return ProviderSetupError(
        f"No model is named for {label}",
        remedy=f"Choose one with `hermes model`, or name it: -m {label}:MODEL",
    )


def _checked(base_url: str, label: str) -> str:
    url = base_url.strip().rstrip("/")
    for path in ("/chat/completions", "/responses", "/v1/messages"):
        url = url.removesuffix(path)
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        is_good = parts.scheme in ("http", "https") and bool(_HOST.fullmatch(host)) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ProviderSetupError(
            f"The address {base_url!r} of {label} is not an http or https URL",
            remedy="Correct the base_url; for example http://127.0.0.1:11434/v1",
        )
    return url


def _same_origin(one: str, other: str) -> bool:
    def origin(url: str) -> tuple[str, str, int]:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return parts.scheme, (parts.hostname or "").lower(), port

    return origin(one) == origin(other)
