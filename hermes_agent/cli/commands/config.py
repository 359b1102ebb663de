"""`hermes config`: show, explain and change settings."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import click

from hermes_agent.cli.options import ChatOptions, Invocation
from hermes_agent.cli.output import short_path
from hermes_agent.config import shape
from hermes_agent.config.editor_port import variable_for
from hermes_agent.config.effective import HEADLINES, Effective, Value
from hermes_agent.config.environ import Environ
from hermes_agent.config.keys import format_key
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.managed import detect
from hermes_agent.config.paths import Home
from hermes_agent.config.registry import ROOT_KEYS
from hermes_agent.core.errors import ConfigError, SettingError, UsageError
from hermes_agent.core.loading import load as load_late

_EDITORS = ("VISUAL", "EDITOR")
_ALLOW_DASHES = {"ignore_unknown_options": True}


def _load() -> LoadedConfig:
    """The configuration as far as it can be used; what is wrong is reported, not fatal.

    Flags before the word `config` take part: `hermes --yolo config explain approvals.mode`.
    """
    invocation = click.get_current_context().find_object(Invocation)
    options = invocation.options if invocation is not None else ChatOptions()
    flags: dict[str, object] = {
        "model.default": options.model,
        "model.provider": options.provider,
        "agent.max_turns": options.max_turns,
        "toolsets": options.toolsets.split(",") if options.toolsets else None,
        "approvals.mode": "off" if options.yolo else None,
        "logging.level": "DEBUG" if options.debug else None,
    }
    return load(
        Home.from_environment(), overrides=flags, tolerant=True, use_file=not options.ignore_user_config
    )


@click.group("config", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show, explain and change settings. Without a subcommand: show."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, show_all=False, as_json=False)


@command.command()
@click.option("--all", "show_all", is_flag=True, help="Every setting, defaults too.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def show(show_all: bool, as_json: bool) -> None:
    """Show the settings in force; * marks what is not default. Secrets are masked."""
    config = _load()
    effective = Effective(config)
    if as_json:
        click.echo(json.dumps(_as_json(config, effective), indent=2, ensure_ascii=False))
        return
    _show_places(config)
    values = {value.key: value for value in (effective.all() if show_all else effective.given())}
    if not show_all:
        for key in HEADLINES:
            values.setdefault(key, effective.get(key))
    _show_values(values.values())
    _show_notes(config)
    if not show_all:
        click.echo("\nAll settings: hermes config show --all    Why a value: hermes config explain KEY")


def _as_json(config: LoadedConfig, effective: Effective) -> dict[str, Any]:
    values = list(effective.all())
    return {
        "home": str(config.home.root),
        "config_file": str(config.home.config_file),
        "env_file": str(config.home.env_file),
        "settings": {format_key(value.key): value.value for value in values},
        "sources": {format_key(value.key): value.source for value in values if value.source != "default"},
        "warnings": list(config.warnings),
        "problems": [list(problem.lines) for problem in config.problems],
    }


def _show_places(config: LoadedConfig) -> None:
    home = config.home
    manager = detect(home)
    rows = [
        ("Settings", home.config_file, "" if config.document.exists else "  (not there: defaults)"),
        ("Secrets", home.env_file, "" if home.env_file.exists() else "  (not there)"),
    ]
    for label, path, note in rows:
        click.echo(f"{label:<9} {short_path(str(path))}{note}")
    if manager is not None:
        click.echo(f"Managed   by {manager.name}: changes are made there")


def _show_values(values: Iterable[Value]) -> None:
    groups: dict[str, list[Value]] = {}
    for value in sorted(values, key=_position):
        groups.setdefault(ROOT_KEYS[value.key[0]].group, []).append(value)
    width = min(44, max(len(format_key(value.key)) for group in groups.values() for value in group))
    for group, members in groups.items():
        click.echo("\n" + click.style(group, bold=True))
        for value in members:
            mark = " " if value.is_default else "*"
            text = _one_line(value.value)
            source = "" if value.source == "default" else click.style(f"  ({value.source})", dim=True)
            line = f"{mark} {format_key(value.key):<{width}}  {text}"
            click.echo((click.style(line, fg="cyan") if mark == "*" else line) + source)


def _position(value: Value) -> tuple[int, ...]:
    """Where a key stands among all: sections, then fields in the order they are written in."""
    root, *below = value.key
    fields = getattr(shape.root_annotation(root), "model_fields", {})
    inner = list(fields).index(below[0]) if below and below[0] in fields else 0
    return (list(ROOT_KEYS).index(root), inner)


def _one_line(value: object) -> str:
    if isinstance(value, str):
        return (
            json.dumps(value, ensure_ascii=False)
            if value != value.strip() or "\n" in value
            else value or "''"
        )
    text = _json(value)
    return text if len(text) <= 100 else text[:99] + "…"


def _json(value: object, indent: int | None = None) -> str:
    """JSON, with whole numbers shown as such."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _show_notes(config: LoadedConfig) -> None:
    for problem in config.problems:
        first, *rest = "\n".join(problem.lines).split("\n")
        click.echo("\n" + click.style("Error:", fg="red", bold=True) + f" {first}", err=True)
        for line in rest:
            click.echo(f"       {line}", err=True)
    if config.warnings:
        click.echo(err=True)
    for warning in config.warnings:
        click.echo(click.style("Note:", fg="yellow", bold=True) + f" {warning}", err=True)


@command.command("get")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def get_(key: str, as_json: bool) -> None:
    """Print one value, a section, or a variable of .env. Secrets are masked."""
    config = _load()
    explanation = load_late("hermes_agent.config.explain:explain")(config, key)
    for problem in config.problems:
        # A script must not take a default for what is meant to be set.
        if not isinstance(problem, SettingError) or problem.key.startswith(explanation.key):
            raise problem
    value = explanation.value
    if value is None and explanation.kind == "environment variable":
        raise SettingError(f"{key} is not set", key=key, remedy=f"Set it with: hermes config set {key}")
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None))
    elif isinstance(value, str):
        click.echo(value)
    else:
        click.echo(_json(value, 2))


@command.command("set", context_settings=_ALLOW_DASHES)
@click.argument("key")
@click.argument("value", required=False, type=click.UNPROCESSED)
@click.option("--force", is_flag=True, help="Store a key that no section knows.")
def set_(key: str, value: str | None, force: bool) -> None:
    """Change one setting, or store a secret in .env.

    KEY is dotted (`terminal.backend`, `fallback_providers.0.model`); a name in capitals
    (`OPENROUTER_API_KEY`) goes to .env. Without VALUE it is asked for, or read from standard input,
    so that a secret stays out of the shell's history.
    """
    home = Home.from_environment()
    if value is None:
        value = _ask(key)
    where = load_late("hermes_agent.config.editor:set_text")(home, key, value, force=force)
    click.echo(f"Set {where}")
    is_secret = load_late("hermes_agent.config.secret_names:is_secret_setting")(key)
    if is_secret and variable_for(key) is None and "${" not in value:
        name = load_late("hermes_agent.config.checks:variable_name")(key)
        click.echo(
            f"Note: secrets are safer in .env: hermes config set {name}, then ${{{name}}} as the value here"
        )


def _ask(key: str) -> str:
    if not sys.stdin.isatty():
        text = sys.stdin.read()
        if not text.strip():
            raise UsageError(f"No value for {key}", remedy=f"Write it: hermes config set {key} VALUE")
        return text.rstrip("\n")
    is_secret = load_late("hermes_agent.config.secret_names:is_secret_setting")(key)
    answer = str(click.prompt(key, hide_input=is_secret, default="", show_default=False))
    if not answer.strip():
        raise UsageError(f"No value for {key}; nothing was changed")
    return answer


@command.command()
@click.argument("key")
def unset(key: str) -> None:
    """Remove one setting from config.yaml, or a variable from .env."""
    home = Home.from_environment()
    if load_late("hermes_agent.config.editor:unset")(home, key):
        click.echo(f"Removed {key}")
    else:
        click.echo(f"{key} was not set")


@command.command()
def edit() -> None:
    """Open config.yaml in $EDITOR; it is saved only if it is valid."""
    home = Home.from_environment()
    open_draft = load_late("hermes_agent.config.draft:open_draft")
    draft_module = load_late("hermes_agent.config.draft:")
    with open_draft(home) as draft:
        while True:
            _run_editor(home, str(draft.path))
            if draft_module.is_unchanged(draft):
                click.echo("Nothing was changed.")
                return
            problems = draft_module.problems_of(home, draft.path.read_bytes())
            if not problems:
                break
            _show_problems(problems)
            if not sys.stdin.isatty() or not click.confirm("Edit again?", default=True):
                saved = draft_module.keep(home, draft)
                raise ConfigError(
                    "config.yaml was left as it was",
                    why=f"Your version is wrong and was saved as {saved}.",
                    remedy="Run `hermes config edit` again and take over what is right.",
                )
        backup = draft_module.accept(home, draft)
    click.echo(f"Saved {short_path(str(home.config_file))}")
    if backup is not None:
        click.echo(f"The version before is {short_path(str(backup))}")


def _show_problems(problems: Iterable[ConfigError]) -> None:
    for problem in problems:
        click.echo(
            click.style("Wrong:", fg="red", bold=True) + " " + "\n       ".join(problem.lines), err=True
        )


def _run_editor(home: Home, path: str) -> None:
    environ = Environ.load(home)
    named = next((value for name in _EDITORS if (value := environ.get(name))), "")
    try:
        words = shlex.split(named)
    except ValueError as error:
        raise UsageError(
            f"Cannot understand the editor command {named!r}",
            why=str(error),
            remedy="Name another one: EDITOR=nano hermes config edit",
        ) from error
    if not words:
        which = load_late("shutil:which")
        words = [next((editor for editor in ("nano", "vim", "vi") if which(editor)), "vi")]
    try:
        code = subprocess.run([*words, path], check=False).returncode
    except OSError as error:
        raise UsageError(
            f"Cannot start the editor {words[0]!r}",
            why=error.strerror,
            remedy="Name another one: EDITOR=nano hermes config edit",
        ) from error
    if code != 0:
        raise UsageError(f"The editor ended with exit code {code}; nothing was changed")


@command.command()
def path() -> None:
    """Print where config.yaml is."""
    click.echo(Home.from_environment().config_file)


@command.command("env-path")
def env_path() -> None:
    """Print where .env is."""
    click.echo(Home.from_environment().env_file)


@command.command()
def check() -> None:
    """Check config.yaml and .env; exit code 3 if something is wrong."""
    config = _load()
    notes = [*config.warnings, *load_late("hermes_agent.config.checks:advice")(config)]
    for note in notes:
        click.echo(click.style("Note:", fg="yellow", bold=True) + f" {note}")
    if config.problems:
        _show_problems(config.problems)
        raise click.exceptions.Exit(ConfigError.exit_code)
    if not config.document.exists:
        click.echo(f"There is no {short_path(str(config.home.config_file))}: the defaults are in force.")
    click.echo("The configuration is valid." if not notes else "The configuration is valid, with notes.")


@command.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def migrate(dry_run: bool) -> None:
    """Write older settings in their present form, after copying the file."""
    home = Home.from_environment()
    notes, copied = load_late("hermes_agent.config.editor:migrate")(home, dry_run=dry_run)
    for note in notes:
        click.echo(f"- {note}")
    if copied is not None:
        click.echo(f"Migrated; the old file is {short_path(str(copied))}")
    elif notes:
        click.echo("Nothing was written (dry run).")
    else:
        click.echo("Nothing to migrate.")


@command.command()
@click.argument("key")
def explain(key: str) -> None:
    """Say which layer gives a value: flag, variable, config.yaml or default."""
    config = _load()
    found = load_late("hermes_agent.config.explain:explain")(config, key)
    click.echo(f"{found.key} = {_one_line(found.value)}" if found.layers else found.key)
    click.echo(f"  from      {found.source}")
    if found.description:
        click.echo(f"  meaning   {found.description}")
    if found.kind:
        click.echo(f"  type      {found.kind}")
    if found.variable:
        click.echo(f"  variable  {found.variable}")
    if len(found.layers) > 1:
        click.echo("  layers, strongest first")
        for layer in found.layers:
            click.echo(f"    {layer.name}: {_one_line(layer.value)}")
    for value in found.below:
        click.echo(f"  {format_key(value.key)} = {_one_line(value.value)}  ({value.source})")
    _show_problems(config.problems)


@command.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml."""
    click.echo(
        json.dumps(load_late("hermes_agent.config.schema:json_schema")(), indent=2, ensure_ascii=False)
    )


@command.command()
def keys() -> None:
    """Print every key, sorted."""
    for key in load_late("hermes_agent.config.effective:leaf_keys")():
        click.echo(key)
