"""Choosing a provider and a model, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hermes_agent.cli.pickers.model_choice import OWN_KEY_NAME, ModelChoice, with_choice
from hermes_agent.cli.pickers.prompter import Choice, Prompter
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load
from hermes_agent.core.redaction import Redactor
from hermes_agent.models.catalogue import PROVIDERS, Provider, find_provider
from hermes_agent.models.discovery import LocalServer, discover

_READY = "Ready"
_HERE = "Servers on this machine"
_NEEDS_KEY = "Need a key"
_OTHER = "Other"
_ASK_FOR_LIST = "\0list"
_LOCAL = "\0local:"
_OWN = "custom"


def find_servers() -> Sequence[LocalServer]:
    """Model servers on the usual ports of this machine; asks nothing beyond it."""
    return asyncio.run(discover(include_empty=True))


def key_variable(provider: Provider, config: LoadedConfig) -> str | None:
    """The variable that holds the provider's key now; None if there is none."""
    return next((name for name in provider.key_names if config.environ.get(name)), None)


def has_pool(provider: str, config: LoadedConfig) -> bool:
    """Whether auth.json has a key for the provider."""
    found = load("hermes_agent.models.credentials:from_auth_file")
    return bool(found(config.home.auth_file, provider, config.environ))


def provider_choices(config: LoadedConfig, servers: Sequence[LocalServer]) -> list[Choice]:
    """Every provider that can be used, by what it still needs."""
    ready = [
        Choice(f"custom:{entry.name}", entry.name, entry.base_url, _READY)
        for entry in config.settings.custom_providers
    ]
    needs: list[Choice] = []
    for provider in PROVIDERS:
        if provider.auth != "api_key" or not provider.key_names:
            continue
        variable = key_variable(provider, config)
        if variable or has_pool(provider.id, config):
            note = f"key in {variable}" if variable else "key in auth.json"
            ready.append(Choice(provider.id, provider.label, note, _READY))
        else:
            needs.append(Choice(provider.id, provider.label, provider.key_names[0], _NEEDS_KEY))
    here = [
        Choice(f"{_LOCAL}{place}", server.name, f"{server.base_url}, {_count(server.models)}", _HERE)
        for place, server in enumerate(servers)
    ]
    other = [
        Choice(_OWN, "Another endpoint", "your own address: OpenAI's or Anthropic's API", _OTHER),
        Choice("demo", "Demo model", "offline, understands a few fixed requests", _OTHER),
    ]
    return [*ready, *here, *needs, *other]


def _count(models: Sequence[str]) -> str:
    return f"{len(models)} {'model' if len(models) == 1 else 'models'}"


class ModelPicker:
    """Asks for provider, key and model.

    Args:
        prompter: How to ask.
        config: What is set up now.
        servers: Model servers found on this machine.
    """

    def __init__(self, prompter: Prompter, config: LoadedConfig, servers: Sequence[LocalServer] = ()) -> None:
        self._prompter = prompter
        self._config = config
        self._servers = servers

    def pick(self) -> ModelChoice | None:
        """Ask until there is a choice; None if the person skipped."""
        section = self._config.settings.model
        current = section.provider if section.provider != "auto" else ""
        picked = self._prompter.choose(
            "Provider", provider_choices(self._config, self._servers), current=current
        )
        if picked is None:
            return None
        if picked.startswith(_LOCAL):
            return self._local(self._servers[int(picked.removeprefix(_LOCAL))])
        if picked == _OWN:
            return self._own()
        if picked.startswith("custom:"):
            return self._model(ModelChoice(picked, ""), self._suggestions_of_custom(picked))
        provider = find_provider(picked)
        assert provider is not None, "the list names providers of the catalogue"
        if provider.id == "demo":
            return ModelChoice("demo", "demo")
        return self._from_catalogue(provider)

    def _from_catalogue(self, provider: Provider) -> ModelChoice | None:
        choice = ModelChoice(provider.id, "")
        if not key_variable(provider, self._config) and not has_pool(provider.id, self._config):
            if provider.key_url:
                self._prompter.say(f"Keys of {provider.label}: {provider.key_url}")
            key = self._prompter.ask_secret(f"Key for {provider.label} ({provider.key_names[0]})")
            if key is None:
                return None
            choice = ModelChoice(provider.id, "", key_name=provider.key_names[0], key=key)
        return self._model(choice, provider.models or tuple(filter(None, (provider.default_model,))))

    def _suggestions_of_custom(self, label: str) -> Sequence[str]:
        name = label.removeprefix("custom:")
        return next(
            (tuple(entry.models) for entry in self._config.settings.custom_providers if entry.name == name),
            (),
        )

    def _local(self, server: LocalServer) -> ModelChoice | None:
        address = "" if server.provider != "custom" else server.base_url
        picked = self._model(ModelChoice(server.provider, "", address), server.models)
        return picked and replace(picked, context_length=server.context_windows.get(picked.model))

    def _own(self) -> ModelChoice | None:
        address = self._prompter.ask("Address, for example http://127.0.0.1:8000/v1")
        if address is None:
            return None
        if "://" not in address:
            address = f"http://{address}"
        key = self._prompter.ask_secret("Key, if it needs one")
        choice = ModelChoice("custom", "", address, OWN_KEY_NAME if key else "", key or "")
        return self._model(choice, self._fetch(choice) or ())

    def _model(self, choice: ModelChoice, suggestions: Sequence[str]) -> ModelChoice | None:
        section = self._config.settings.model
        current = section.default if section.provider == choice.provider else ""
        names = list(dict.fromkeys(filter(None, (current, *suggestions))))
        has_asked = False
        while True:
            offers = [Choice(name, name) for name in names]
            if not has_asked and not self._is_listed(choice, suggestions):
                offers.append(Choice(_ASK_FOR_LIST, "show all models it offers", "asks the endpoint"))
            picked = self._prompter.choose("Model", offers, current=current, free_text="a model name")
            if picked is None:
                return None
            if picked != _ASK_FOR_LIST:
                return replace(choice, model=picked)
            has_asked = True
            names = list(dict.fromkeys([*(self._fetch(choice) or ()), *names]))

    def _is_listed(self, choice: ModelChoice, suggestions: Sequence[str]) -> bool:
        """Whether the suggestions came from the endpoint itself."""
        return bool(choice.base_url) or any(server.models is suggestions for server in self._servers)

    def _fetch(self, choice: ModelChoice) -> Sequence[str] | None:
        """Ask the endpoint; None, after saying why, if it does not tell."""
        try:
            return fetch_models(self._config, choice)
        except HermesError as error:
            redactor = Redactor([*self._config.secret_values(), choice.key])
            self._prompter.say("\n".join(redactor.redact(line) for line in error.lines))
            return None


def fetch_models(config: LoadedConfig, choice: ModelChoice) -> Sequence[str]:
    """The list of the endpoint. Raises `ModelError`."""
    settings, environ = with_choice(config, replace(choice, model=choice.model or "any"))
    target = load("hermes_agent.models.resolve:resolve_target")(settings, environ, home=config.home)
    names: Sequence[str] = asyncio.run(load("hermes_agent.models.listing:list_models")(target))
    return names
