"""`hermes setup`."""

from __future__ import annotations

import click

from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import short_path
from hermes_agent.cli.pickers.models import find_servers
from hermes_agent.cli.pickers.plan import Plan, without_file
from hermes_agent.cli.pickers.prompter import open_prompter
from hermes_agent.cli.pickers.wizard import (
    Wizard,
    detect,
    redacted_lines,
    show_trial,
    test_request,
)
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigFileError, HermesError, ModelError, ProviderSetupError

SECTIONS = ("model", "terminal", "tools", "approvals")
_METAVAR = f"[{'|'.join(SECTIONS)}]"


@click.command("setup")
@click.argument("section", type=click.Choice((*SECTIONS, "agent")), required=False, metavar=_METAVAR)
@click.option("--quick", is_flag=True, help="Only the model, and only what cannot be found out.")
@click.option("--non-interactive", "is_silent", is_flag=True, help="Ask nothing: use what is found.")
@click.option("--reset", "is_reset", is_flag=True, help="Begin anew; config.yaml is kept in backups/.")
@click.option("--no-test", "is_untested", is_flag=True, help="Send no test request.")
@click.pass_context
def command(
    ctx: click.Context, section: str | None, quick: bool, is_silent: bool, is_reset: bool, is_untested: bool
) -> None:
    """Connect a model, step by step, and test it.

    Every step can be skipped. Nothing is written before the last question, so Ctrl+C leaves everything
    as it was. Keys go into .env and are never shown.
    """
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    option = f"{OPTION_PREFIX}model"
    line = f'{option} = {{ provider = "openrouter"; default = "…"; }};  # its key: environmentFiles'
    require_unmanaged(home, "hermes setup", option, nix_line=line)
    plan = Plan(_load(home, is_reset=is_reset), is_reset=is_reset and home.config_file.exists())
    if is_silent:
        _without_questions(plan, is_untested=is_untested)
        return
    prompter = open_prompter(invocation.terminal, instead="hermes setup --non-interactive")
    wizard = Wizard(prompter, plan)
    click.echo(f"Setting up hermes in {short_path(str(home.root))}. Every step can be skipped.\n")
    if quick:
        wizard.quick_model()
    else:
        wanted = {"agent": "approvals"}.get(section or "", section)
        for name, step in wizard.sections().items():
            if wanted is None or name == wanted:
                step()
    if not is_untested and (plan.model is not None or section in (None, "model")):
        wizard.test()
    if plan.is_empty:
        click.echo("\nNothing was changed.")
        return
    click.echo("\nThis will be written:")
    for label, text in plan.summary():
        click.echo(f"  {label + ':':<24}{text}")
    if not prompter.confirm("Save it?"):
        click.echo("Nothing was changed.")
        return
    plan.apply()
    _finish(home)


def _load(home: Home, *, is_reset: bool) -> LoadedConfig:
    """The configuration; with `--reset` without config.yaml, however broken it is.

    Raises:
        ConfigError: config.yaml cannot be used.
    """
    if is_reset:
        return without_file(load(home, tolerant=True))
    try:
        return load(home)
    except ConfigFileError as error:
        remedy = f"{error.remedy or 'hermes config edit'}\nOr begin anew (it is kept): hermes setup --reset"
        raise ConfigFileError(
            error.message, path=error.path, line=error.line, column=error.column, why=error.why, remedy=remedy
        ) from error


def _without_questions(plan: Plan, *, is_untested: bool) -> None:
    """Take what is found; a failing test is told and changes nothing.

    Raises:
        ProviderSetupError: Nothing was found.
        ModelError: The model does not answer.
    """
    plan.model = detect(plan.config, find_servers())
    if plan.model is None:
        raise ProviderSetupError(
            "No key and no model server was found",
            remedy="Set OPENROUTER_API_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY, or start a model server.",
        )
    click.echo(f"Model: {plan.model.label}")
    if not is_untested:
        try:
            show_trial(test_request(plan))
        except HermesError as error:
            why = "\n".join(redacted_lines(plan, error)[:2])
            raise ModelError(
                "The model does not answer; nothing was changed", why=why, remedy=error.remedy
            ) from error
    plan.apply()
    _finish(plan.config.home)


def _finish(home: Home) -> None:
    click.echo(f"\nSaved in {short_path(str(home.config_file))}. Start with: hermes chat")
