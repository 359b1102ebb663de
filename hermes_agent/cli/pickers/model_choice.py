"""A model that a person chose: what it takes to write it down."""

from __future__ import annotations

from dataclasses import dataclass

from hermes_agent.config.environ import Environ
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.loading import load
from hermes_agent.models.catalogue import find_provider

OWN_KEY_NAME = "CUSTOM_API_KEY"
"""Variable of `.env` for the key of an endpoint of one's own."""

_OF_ONE_ENDPOINT = ("base_url", "api_key", "api_mode", "default_headers")
_OF_ONE_MODEL = ("context_length", "max_tokens")
"""Keys of the `model` section that mean nothing, or harm, at another provider or for another model."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A provider and a model.

    Attributes:
        provider: Id, or `custom:<name>`, or `custom` with `base_url`.
        model: As the endpoint spells it.
        base_url: Address of an endpoint of one's own.
        key_name: Variable for a key that was typed in.
        key: That key.
        context_length: Tokens of its window, if the endpoint told.
    """

    provider: str
    model: str
    base_url: str = ""
    key_name: str = ""
    key: str = ""
    context_length: int | None = None

    def __repr__(self) -> str:
        return f"ModelChoice({self.label!r})"  # The key is nobody's business.

    @property
    def label(self) -> str:
        """`provider:model`."""
        return f"{self.provider}:{self.model}"


def split_choice(text: str, settings: Settings) -> ModelChoice:
    """What `provider:model`, `custom:name:model` or a bare model name means.

    A bare name, also one with a colon in it (`qwen3:8b`), stays with the provider of the settings.
    An empty provider in the result leaves it to `provider: auto`.
    """
    text = text.strip()
    text = settings.model_aliases.get(text, text)
    if text.lower().startswith("custom:"):
        name, colon, model = text[len("custom:") :].partition(":")
        return ModelChoice(f"custom:{name}", model) if colon else ModelChoice("custom", name)
    prefix, colon, model = text.partition(":")
    found = find_provider(prefix) if colon else None
    if found is not None:
        return ModelChoice(found.id, model or found.default_model)
    if colon and any(entry.name.lower() == prefix.lower() for entry in settings.custom_providers):
        return ModelChoice(f"custom:{prefix}", model)
    current = current_provider(settings)
    return ModelChoice("" if current == "auto" else current, text)


def current_provider(settings: Settings) -> str:
    """Id of the provider that the `model` section names; `auto` if it names none."""
    section = settings.model
    prefix, colon, _model = section.default.partition(":")
    named = section.provider if section.provider not in ("", "auto") else prefix if colon else ""
    found = find_provider(named) if named else None
    if found is not None:
        return found.id
    return named if named and section.provider == named else "auto"


def with_choice(config: LoadedConfig, choice: ModelChoice) -> tuple[Settings, Environ]:
    """Settings and environment as they would be with the choice written down."""
    settings = config.settings
    stale = _stale_keys(config, choice)
    present = settings.model.model_dump(exclude_unset=True)
    section: dict[str, object] = {name: value for name, value in present.items() if name not in stale}
    section["default"] = choice.model
    if choice.provider:
        section["provider"] = choice.provider
    if choice.base_url:
        section["base_url"] = choice.base_url
        if choice.key:
            section["api_key"] = choice.key
    if choice.context_length:
        section["context_length"] = choice.context_length
    environ = config.environ
    if choice.key_name and choice.key:
        known = {name: value for name in environ.names() if (value := environ.get(name)) is not None}
        environ = Environ({**known, choice.key_name: choice.key})
    return settings.replace(model=section), environ


def _changes_endpoint(config: LoadedConfig, choice: ModelChoice) -> bool:
    if choice.base_url:
        return True
    return bool(choice.provider) and choice.provider != current_provider(config.settings)


def _stale_keys(config: LoadedConfig, choice: ModelChoice) -> tuple[str, ...]:
    """Keys of the `model` section that must not outlive the change."""
    if _changes_endpoint(config, choice):
        return (*_OF_ONE_ENDPOINT, *_OF_ONE_MODEL)
    _prefix, _colon, bare = config.settings.model.default.rpartition(":")
    return () if choice.model in (config.settings.model.default, bare) else _OF_ONE_MODEL


def require_model_unmanaged(home: Home, action: str, choice: ModelChoice | None = None) -> None:
    """Refuse on managed installations, naming the option. Raises `ManagedError`."""
    line = None
    if choice is not None:
        line = f'{OPTION_PREFIX}model = {{ provider = "{choice.provider}"; default = "{choice.model}"; }};'
    require_unmanaged(home, action, f"{OPTION_PREFIX}model", nix_line=line)


def write_choice(config: LoadedConfig, choice: ModelChoice) -> None:
    """Store the choice: the key in `.env`, the rest in config.yaml.

    Raises:
        ManagedError: The installation is managed.
        ConfigError: The files cannot be edited.
        StoreUnwritableError: They cannot be written.
    """
    home = config.home
    set_value, unset = load("hermes_agent.config.editor:set_value"), load("hermes_agent.config.editor:unset")
    if choice.key_name and choice.key:
        load("hermes_agent.config.env_file:set_variable")(home, choice.key_name, choice.key)
    for name in _stale_keys(config, choice):
        unset(home, f"model.{name}")
    if choice.provider:
        set_value(home, "model.provider", choice.provider)
    set_value(home, "model.default", choice.model)
    if choice.context_length:
        set_value(home, "model.context_length", choice.context_length)
    if choice.base_url:
        set_value(home, "model.base_url", choice.base_url)
        if choice.key_name and choice.key:
            set_value(home, "model.api_key", f"${{{choice.key_name}}}")
