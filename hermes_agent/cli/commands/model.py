"""`hermes model`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from hermes_agent.cli.errors import print_lines
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.model_choice import (
    OWN_KEY_NAME,
    ModelChoice,
    current_provider,
    require_model_unmanaged,
    split_choice,
    with_choice,
    write_choice,
)
from hermes_agent.cli.pickers.models import (
    ModelPicker,
    fetch_models,
    find_servers,
    has_pool,
    key_variable,
)
from hermes_agent.cli.pickers.prompter import open_prompter
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.redaction import Redactor
from hermes_agent.models.catalogue import PROVIDERS, Provider, find_provider, get_provider
from hermes_agent.models.discovery import LocalServer

_MODELS_WITH_COLONS = frozenset({"ollama-cloud", "custom"})


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """`provider:`, then its suggestions."""
    prefix, colon, _rest = incomplete.partition(":")
    provider = find_provider(prefix) if colon else None
    if provider is None:
        return [f"{each.id}:" for each in PROVIDERS if each.id.startswith(incomplete)]
    return [name for model in provider.models if (name := f"{prefix}:{model}").startswith(incomplete)]


def _complete_provider(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [provider.id for provider in PROVIDERS if provider.id.startswith(incomplete)]


@click.group("model", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show or choose the model.

    Without a subcommand, pick a provider and a model from lists; where nobody can choose, show the present
    one.
    """
    if ctx.invoked_subcommand is not None:
        return
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    if not invocation.terminal.is_interactive:
        print_model(load(home))
        return
    require_model_unmanaged(home, "hermes model")
    prompter = open_prompter(invocation.terminal, instead="hermes model set PROVIDER:MODEL")
    config = load(home)
    _show_current(config)
    picked = ModelPicker(prompter, config, find_servers()).pick()
    if picked is None:
        click.echo("Nothing was changed.")
        return
    _store(config, picked)


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(as_json: bool) -> None:
    """Show which model answers, where, and whose key is used."""
    print_model(load(Home.from_environment()), as_json=as_json)


def print_model(config: LoadedConfig, *, as_json: bool = False) -> None:
    """Print what is known of the model in use, as text or as one JSON object."""
    facts = _facts(config)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for label, name in (
        ("Model", "label"),
        ("Endpoint", "base_url"),
        ("Dialect", "dialect"),
        ("Context", "context_window"),
        ("Key", "key"),
        ("Chosen by", "chosen_by"),
    ):
        value = facts[name]
        if value not in (None, ""):
            shown = f"{value:,} tokens" if isinstance(value, int) else value
            click.echo(f"{label + ':':<11}{shown}")


@command.command("list")
@click.option(
    "--provider",
    metavar="ID",
    shell_complete=_complete_provider,
    help="Ask this provider which models it has.",
)
@click.option("--offline", is_flag=True, help="Known suggestions only; ask nobody.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(provider: str | None, offline: bool, as_json: bool) -> None:
    """List providers and what they need, or the models of one of them.

    Without --provider nothing beyond this machine is asked.
    """
    config = load(Home.from_environment())
    if provider is None:
        rows = _provider_rows(config, () if offline else find_servers())
        click.echo(json.dumps(rows, indent=2) if as_json else _table(rows))
        return
    names = _models_of(config, provider, offline=offline)
    click.echo(json.dumps(list(names), indent=2) if as_json else "\n".join(names))


@command.command("set")
@click.argument("model", metavar="[PROVIDER:]MODEL", shell_complete=_complete)
@click.option(
    "--base-url", metavar="URL", default="", help="An endpoint of your own; MODEL is then its name there."
)
def set_(model: str, base_url: str) -> None:
    """Use this model from now on.

    A name without a provider stays with the present one. Keys are kept in .env:
    hermes config set OPENROUTER_API_KEY
    """
    home = Home.from_environment()
    config = load(home)
    if base_url:
        key_name = OWN_KEY_NAME if config.environ.get(OWN_KEY_NAME) else ""
        choice = ModelChoice("custom", model.removeprefix("custom:"), base_url, key_name)
    else:
        choice = split_choice(model, config.settings)
        if ":" in model and choice.model == model:
            _require_known_prefix(config, model)
    if not choice.model:
        raise UsageError("No model is named", remedy="hermes model set PROVIDER:MODEL")
    require_model_unmanaged(home, "hermes model set", choice)
    _store(config, choice)


def _require_known_prefix(config: LoadedConfig, text: str) -> None:
    """`opnrouter:x` is a typing error; `qwen3:8b` is not where models have such names."""
    prefix = text.partition(":")[0]
    current = find_provider(current_provider(config.settings))
    has_colons = current is not None and (current.is_local or current.id in _MODELS_WITH_COLONS)
    if "/" not in prefix and not has_colons:
        get_provider(prefix, also=[entry.name for entry in config.settings.custom_providers])


def _store(config: LoadedConfig, choice: ModelChoice) -> None:
    """Check, write, and say what is in force now."""
    settings, environ = with_choice(config, choice)
    problem: HermesError | None = None
    try:
        load_late("hermes_agent.models.resolve:resolve_target")(settings, environ, home=config.home)
    except HermesError as error:
        problem = error
    if problem is not None and not _is_about_key(problem):
        raise problem
    write_choice(config, choice)
    after = load(config.home)
    try:
        info = load_late("hermes_agent.models.resolve:describe")(
            after.settings, after.environ, home=after.home
        )
    except HermesError as error:
        click.echo(f"Saved in {config.home.config_file}.")
        redactor = Redactor(after.secret_values())
        print_lines([redactor.redact(line) for line in error.lines], color=False, label="Note")
        return
    click.echo(f"Model: {info.label}")
    if choice.provider and info.label != choice.label:
        source = next((text for key, text in after.sources.items() if key[0] == "model"), "")
        click.echo(f"Note: {source or 'something else'} wins over the saved {choice.label}.", err=True)


def _is_about_key(error: HermesError) -> bool:
    """A missing key or package can be added later; a wrong name or address cannot be meant."""
    return error.message.startswith("There is no key for") or type(error).__name__ == "MissingExtraError"


def _show_current(config: LoadedConfig) -> None:
    try:
        info = load_late("hermes_agent.models.resolve:describe")(
            config.settings, config.environ, home=config.home
        )
    except HermesError as error:
        click.echo(f"{error.message}.")
    else:
        click.echo(f"Now: {info.label}")


def _facts(config: LoadedConfig) -> dict[str, Any]:
    target = load_late("hermes_agent.models.resolve:resolve_target")(
        config.settings, config.environ, home=config.home
    )
    info = target.endpoint.info
    sources = [each.source.removeprefix("env:") for each in target.credentials if each.source]
    chosen = config.settings.model
    by_flag = [text for key, text in config.sources.items() if key[:1] == ("model",)]
    by = by_flag[0] if by_flag else str(config.home.config_file) if chosen.default else "default"
    return {
        "label": info.label,
        "provider": info.provider,
        "model": info.model,
        "base_url": info.base_url,
        "dialect": info.dialect,
        "context_window": info.context_window,
        "supports_images": info.supports_images,
        "key": ", ".join(sources) or None,
        "chosen_by": by,
    }


def _models_of(config: LoadedConfig, text: str, *, offline: bool) -> Sequence[str]:
    if text.lower().startswith("custom:"):
        choice = ModelChoice(text, "")
    else:
        provider = get_provider(text, also=[entry.name for entry in config.settings.custom_providers])
        if offline:
            return provider.models or tuple(filter(None, (provider.default_model,)))
        choice = ModelChoice(provider.id, "")
    return fetch_models(config, choice)


def _provider_rows(config: LoadedConfig, servers: Sequence[LocalServer]) -> list[dict[str, Any]]:
    current = find_provider(config.settings.model.provider)
    rows: list[dict[str, Any]] = [
        {
            "id": f"custom:{entry.name}",
            "label": entry.base_url,
            "state": "ready",
            "detail": "custom_providers",
        }
        for entry in config.settings.custom_providers
    ]
    running = {server.provider: server for server in servers}
    for provider in PROVIDERS:
        if provider.id == "custom":
            continue
        state, detail = _state(provider, config, running.get(provider.id))
        rows.append({"id": provider.id, "label": provider.label, "state": state, "detail": detail})
    for row in rows:
        row["is_current"] = current is not None and row["id"] == current.id
    order = ("ready", "needs a key", "not running", "not in this version")
    return sorted(rows, key=lambda row: order.index(row["state"]))


def _state(provider: Provider, config: LoadedConfig, server: LocalServer | None) -> tuple[str, str]:
    if provider.id == "demo":
        return "ready", "offline"
    if provider.is_local:
        return ("ready", ", ".join(server.models[:3])) if server else ("not running", provider.base_url)
    if provider.auth in ("oauth", "aws"):
        return "not in this version", "needs a sign-in"
    variable = key_variable(provider, config)
    if variable or has_pool(provider.id, config):
        return "ready", variable or "auth.json"
    return "needs a key", provider.key_names[0]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines: list[str] = []
    state = ""
    for row in rows:
        if row["state"] != state:
            state = row["state"]
            lines += ["", state.capitalize()] if lines else [state.capitalize()]
        mark = "*" if row["is_current"] else " "
        lines.append(f" {mark} {row['id']:<18} {row['label']:<32} {row['detail']}".rstrip())
    lines += ["", "Models of one provider: hermes model list --provider ID"]
    return "\n".join(lines)
